// Package dns01 has the settings of answers by DNS.
package dns01

import (
	"strings"
	"time"
)

// Options are those of a client.
type Options struct{ RecursiveNameservers []string }

// Client asks name servers.
type Client struct{}

// ChallengeOption is a setting.
type ChallengeOption struct{}

// NewClient returns one that asks nobody.
func NewClient(*Options) *Client { return &Client{} }

// SetDefaultClient does nothing.
func SetDefaultClient(*Client) {}

// CondOptions is no setting.
func CondOptions(bool, ...ChallengeOption) ChallengeOption { return ChallengeOption{} }

// DisableAuthoritativeNssPropagationRequirement is no setting.
func DisableAuthoritativeNssPropagationRequirement() ChallengeOption { return ChallengeOption{} }

// DisableRecursiveNSsPropagationRequirement is no setting.
func DisableRecursiveNSsPropagationRequirement() ChallengeOption { return ChallengeOption{} }

// PropagationWait is no setting.
func PropagationWait(time.Duration, bool) ChallengeOption { return ChallengeOption{} }

// UnFqdn returns a name without its last dot.
func UnFqdn(name string) string { return strings.TrimSuffix(name, ".") }
