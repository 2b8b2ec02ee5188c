// Package tlsalpn01 has the settings of answers by TLS.
package tlsalpn01

import (
	"errors"
	"time"
)

// ACMETLS1Protocol is what authorities ask by.
const ACMETLS1Protocol = "acme-tls/1"

// ChallengeOption is a setting.
type ChallengeOption struct{}

// SetDelay is no setting.
func SetDelay(time.Duration) ChallengeOption { return ChallengeOption{} }

// ChallengeBlocks refuses.
func ChallengeBlocks(string, string) (certificate, key []byte, err error) {
	return nil, nil, errors.New("built without ACME")
}
