// Package ingest is the contract of the doors: each takes records in and appends them to a log.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// Source is one door of one pipeline. Opening one validates and may bind; only Run works.
type Source interface {
	// Run takes records in until the source ends (a finite one), stop is closed or ctx ends. On stop it does one last
	// read, finishes what it has admitted, and returns nil. On ctx it returns at once. An error ends the pipeline's source
	// for good and is the operator's to see.
	Run(ctx context.Context, stop <-chan struct{}, to Appender) error
	// Finite tells whether the source ends by itself, so that run --once can wait for it.
	Finite() bool
	// String is what the start line and the errors say of it, such as "http 127.0.0.1:8080/logs". No secrets.
	String() string
}

// Appender is the part of a log that a source sees.
type Appender interface {
	Append(ctx context.Context, w *buffer.Write) (buffer.Receipt, error)
}

// Deps is what a source is opened with.
type Deps struct {
	Pipeline string
	Clock    hydrant.Clock
	Memory   *hydrant.Memory // the doors' budget: bodies and read buffers are taken from it
	Log      *slog.Logger
	Go       hydrant.Go
	HTTP     Mux // listeners shared by path between pipelines
}

// Mux hands out places on shared HTTP listeners. cmd implements it and serves them.
type Mux interface {
	// Handle claims path on listen. TLS files are empty for plain HTTP; all claims on one address must agree on them.
	Handle(listen, path, certFile, keyFile string, h http.Handler) error
}

// Kind makes sources from their section of the configuration. Define makes one.
type Kind struct {
	Config func() any // a pointer to a config struct with the defaults in it, to be decoded into
	Open   func(cfg any, d Deps) (Source, error)
}

// Define makes a Kind of a config struct C, whose value here holds the defaults, and the function that opens it.
func Define[C any](defaults C, open func(C, Deps) (Source, error)) Kind {
	return Kind{
		Config: func() any { c := defaults; return &c },
		Open: func(cfg any, d Deps) (Source, error) {
			c, ok := cfg.(*C)
			if !ok {
				panic(fmt.Sprintf("BUG: config is %T, want %T", cfg, c))
			}
			return open(*c, d)
		},
	}
}
