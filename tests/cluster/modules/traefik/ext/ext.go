// Package ext is what Traefik's own repository replaces this module by, which its module leaves out: no extensions.
package ext

// HTTP extends an HTTP configuration.
type HTTP struct{}

// Router extends a router.
type Router struct{}
