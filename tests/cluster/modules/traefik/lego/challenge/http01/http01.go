// Package http01 has the settings of answers by HTTP.
package http01

import "time"

// PathPrefix is where authorities ask.
const PathPrefix = "/.well-known/acme-challenge/"

// ChallengeOption is a setting.
type ChallengeOption struct{}

// SetDelay is no setting.
func SetDelay(time.Duration) ChallengeOption { return ChallengeOption{} }
