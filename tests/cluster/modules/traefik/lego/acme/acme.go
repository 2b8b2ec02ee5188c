// Package acme has the accounts that Traefik names.
package acme

// Account is that of an authority.
type Account struct{}

// ExtendedAccount is an account and where it is.
type ExtendedAccount struct {
	Account
	Location string
}
