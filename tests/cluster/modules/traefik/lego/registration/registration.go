// Package registration has what Traefik registers with authorities by.
package registration

// RegisterOptions are those of a plain registration.
type RegisterOptions struct{ TermsOfServiceAgreed bool }

// RegisterEABOptions are those of one that is bound to another account.
type RegisterEABOptions struct {
	TermsOfServiceAgreed bool
	Kid, HmacEncoded     string
}
