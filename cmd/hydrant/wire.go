package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/delivery"
	"github.com/hydrantd/hydrant/ingest"
	"github.com/hydrantd/hydrant/sinks"
)

// The wiring, one pipeline:
//
//	ingest.Source → door (counts) → buffer.Log → delivery.Delivery → sinks.Sink
//	     ↑ doors' memory                              ↑ deliveries' memory
//
// Everything is opened before anything runs; what starts and stops it is daemon.go.

// pipeline is one stream, wired.
type pipeline struct {
	name   string
	buffer space
	doors  []*door
	open   func() (parts, error) // again, when it could not be opened
	opened chan struct{}         // closed once the log is open

	mu sync.Mutex
	parts
}

// parts are those of a pipeline that need its log. What could not be opened holds by itself: err says why, and the rest
// goes on (I16).
type parts struct {
	log        buffer.Log // nil with err
	err        error
	deliveries []*outlet
}

// now is what the pipeline has at the moment.
func (p *pipeline) now() parts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.parts
}

// outlet is one destination of a pipeline: its delivery, or why there is none.
type outlet struct {
	name   string
	target string // kind and place, for people
	*delivery.Delivery
	sinks []sinks.Sink
	batch config.Batch
	err   error
}

// workshop is what the parts are made with.
type workshop struct {
	kinds      kinds
	fs         hydrant.FS
	clock      hydrant.Clock
	log        *slog.Logger
	group      *group
	mux        *mux
	meters     *meters
	doors      *hydrant.Memory
	deliveries *hydrant.Memory
	dataDir    string
	acceptGap  map[string][]string // pipeline → destinations
}

// pipeline opens the log of p, its doors and its deliveries. An error is one that must stop the start: a door that
// cannot be opened, or a log of a newer version.
func (w *workshop) pipeline(p config.Pipeline) (*pipeline, error) {
	out := &pipeline{
		name: p.Name, buffer: share(p), opened: make(chan struct{}), open: func() (parts, error) { return w.parts(p) },
	}
	for _, part := range p.Sources {
		door, err := w.door(p.Name, part)
		if err != nil {
			return nil, err
		}
		out.doors = append(out.doors, door)
	}
	var err error
	if out.parts, err = out.open(); err != nil {
		return nil, err
	}
	if out.err != nil {
		w.log.Error("the log of a pipeline cannot be opened, the pipeline holds", "stream", p.Name, "err", out.err)
	} else {
		close(out.opened)
	}
	return out, nil
}

// parts opens the log of p and its deliveries. An error: the log is of a newer version.
func (w *workshop) parts(p config.Pipeline) (out parts, err error) {
	dir := filepath.Join(w.dataDir, "streams", p.Name)
	names := make([]string, len(p.Destinations))
	for i, d := range p.Destinations {
		names[i] = d.Name
	}
	shares := share(p)
	log, recovery, err := buffer.Open(buffer.Options{
		FS: w.fs, Clock: w.clock, Rand: rand.Reader, Dir: dir, Name: p.Name, Shards: p.Buffer.Shards,
		Retention: p.Buffer.Retention, MaxBytes: shares.log, Cursors: names, AcceptGap: w.acceptGap[p.Name], Logger: w.log,
	})
	switch {
	case errors.Is(err, buffer.ErrNewerFormat):
		return parts{}, err
	case err != nil:
		out.err = err
	default:
		out.log = log
		w.recovered(p.Name, recovery)
	}
	for i, d := range p.Destinations {
		out.deliveries = append(out.deliveries, w.outlet(&out, p.Name, d, filepath.Join(dir, "spool", d.Name), shares.spools[i]))
	}
	return out, nil
}

// recovered says what was found when the log was opened, beside what the log says itself.
func (w *workshop) recovered(stream string, r buffer.Recovery) {
	for _, gap := range r.Gaps {
		w.log.Warn("records that the log lost are given up, as --accept-gap says", "stream", stream, "delivery", gap)
	}
	if n := len(r.Quarantined); n > 0 {
		w.log.Warn("copies of damaged blocks are kept in quarantine", "stream", stream, "files", n)
	}
}

// space is buffer.max_bytes, shared out.
type space struct {
	log    int64
	spools []int64 // of each destination
}

func share(p config.Pipeline) space {
	s := space{log: int64(p.Buffer.MaxBytes)}
	for _, d := range p.Destinations {
		n := spoolShare(d, int64(p.Buffer.MaxBytes), len(p.Destinations))
		s.spools = append(s.spools, n)
		s.log -= n
	}
	return s
}

func (s space) total() int64 {
	n := s.log
	for _, spool := range s.spools {
		n += spool
	}
	return n
}

// spoolShare is the part of max_bytes that is set aside for the spool of one destination: what its batches need if
// nothing shrinks them, at most a quarter of the whole, and of all destinations together half.
func spoolShare(d config.Destination, maxBytes int64, destinations int) int64 {
	need := int64(d.Concurrency) * (int64(d.Batch.Size)*9/8 + 1<<20)
	return min(need, maxBytes/4, maxBytes/2/int64(destinations))
}

func (w *workshop) door(stream string, part config.Part) (*door, error) {
	source, err := w.kinds.sources[part.Kind].Open(part.Value, ingest.Deps{
		Pipeline: stream, Clock: w.clock, Memory: w.doors, Log: w.log.With("stream", stream), Go: w.group.Go, HTTP: w.mux,
	})
	if err != nil {
		return nil, fmt.Errorf("pipeline %s: %s: %w", stream, part.Kind, err)
	}
	return &door{Source: source, clock: w.clock, meter: w.meters.door(stream, source.String())}, nil
}

// outlet opens the sinks and the delivery of one destination.
func (w *workshop) outlet(p *parts, stream string, d config.Destination, spool string, spoolBytes int64) *outlet {
	o := &outlet{name: d.Name, target: target(d.Sink), batch: d.Batch}
	o.err = p.err
	if o.err == nil {
		o.err = w.deliver(o, p.log, stream, d, spool, spoolBytes)
		if o.err != nil {
			w.log.Error("a destination cannot be opened, it holds", "stream", stream, "delivery", d.Name, "err", o.err)
		}
	}
	return o
}

func (w *workshop) deliver(o *outlet, log buffer.Log, stream string, d config.Destination, spool string, spoolBytes int64) error {
	for _, part := range []config.Part{d.Sink, d.ErrorOutput} {
		sink, err := w.kinds.sinks[part.Kind].Open(part.Value, sinks.Deps{
			Pipeline: stream, Destination: d.Name, FS: w.fs, Clock: w.clock, Rand: rand.Reader,
			Log: w.log.With("stream", stream, "delivery", d.Name, "sink", part.Kind),
		})
		if err != nil {
			return err
		}
		o.sinks = append(o.sinks, sink)
	}
	var err error
	o.Delivery, err = delivery.Open(delivery.Options{
		Pipeline: stream, Destination: d.Name, Log: log, Sink: o.sinks[0], Errors: o.sinks[1],
		FS: w.fs, Clock: w.clock, Rand: rand.Reader, Memory: w.deliveries, Logger: w.log, Go: w.group.Go,
		Dir: spool, Batch: delivery.Batch{Size: int64(d.Batch.Size), Interval: d.Batch.Interval},
		Concurrency: d.Concurrency, GiveUpAfter: d.GiveUpAfter, SpoolBytes: spoolBytes,
	})
	return err
}

// target is what the start line says of a sink.
func target(part config.Part) string {
	if t, ok := part.Value.(config.Targeter); ok {
		return part.Kind + " " + t.Target()
	}
	return part.Kind
}

// close closes what pipeline opened, last things first.
func (p *pipeline) close() error {
	var errs []error
	now := p.now()
	for _, o := range now.deliveries {
		if o.Delivery != nil {
			errs = append(errs, o.Close())
		}
		for _, s := range o.sinks {
			errs = append(errs, s.Close())
		}
	}
	if now.log != nil {
		errs = append(errs, now.log.Close())
	}
	return errors.Join(errs...)
}

// describe says in one line what the pipeline reads, where it goes and when to expect the first object.
func (p *pipeline) describe(log *slog.Logger, once bool) {
	var reads, writes []string
	for _, d := range p.doors {
		reads = append(reads, d.String())
	}
	soonest, deliveries := config.Batch{}, p.now().deliveries
	for i, o := range deliveries {
		writes = append(writes, o.name+" ("+o.target+")")
		if i == 0 || o.batch.Interval < soonest.Interval {
			soonest = o.batch
		}
	}
	due := fmt.Sprintf("%s after its first record, or at %s", config.FormatDuration(soonest.Interval), soonest.Size)
	if once {
		due += ", at the end of the input at the latest"
	}
	if slices.ContainsFunc(deliveries, func(o *outlet) bool { return o.pending() > 0 }) {
		due = "now: records are pending"
	}
	log.Info("pipeline started", "stream", p.name, "reads", strings.Join(reads, ", "), "writes", strings.Join(writes, ", "), "first_object", due)
}

// pending is how many records wait for the delivery, 0 if it does not know.
func (o *outlet) pending() int64 {
	if o.err != nil {
		return 0
	}
	s, err := o.Status()
	if err != nil {
		return 0
	}
	return s.Pending.Records
}

// door is a source and the counts of what came through it. It is the Appender that the source sees.
type door struct {
	ingest.Source
	clock hydrant.Clock
	meter doorMeter
	to    ingest.Appender
	ended atomic.Pointer[error] // set when it runs no more: why, or nil
}

// Append implements ingest.Appender.
func (d *door) Append(ctx context.Context, w *buffer.Write) (buffer.Receipt, error) {
	began := d.clock.Mono()
	receipt, err := d.to.Append(ctx, w)
	d.meter.appended(w, d.clock.Mono()-began, err)
	return receipt, err
}

// run works until the source ends.
func (d *door) run(ctx context.Context, stop <-chan struct{}, log buffer.Log) error {
	d.to = log
	err := d.Run(ctx, stop, d)
	d.ended.Store(&err)
	return err
}

func (d *door) report() sourceReport {
	r := sourceReport{Source: d.String()}
	if err := d.ended.Load(); err != nil {
		r.Ended, r.Error = true, text(*err)
	}
	return r
}
