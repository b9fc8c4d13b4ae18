package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/config"
)

type runCmd struct {
	configFlag
	Once      bool     `help:"Read the sources to their present end, deliver everything, and exit; with 3 if records were refused."`
	AcceptGap []string `placeholder:"PIPELINE/DESTINATION" help:"Go on although the log ends before what was delivered already (a restored volume): what is missing counts as damaged."`
}

// Run implements `hydrant run`.
func (r *runCmd) Run(c *console) error {
	cfg, err := r.load(c, c.err)
	if err != nil {
		return err
	}
	gaps, err := acceptedGaps(cfg, r.AcceptGap)
	if err != nil {
		return &exit{exitUsage, err.Error()}
	}
	d, err := open(c, cfg, gaps)
	if err != nil {
		return err
	}
	if r.Once {
		err = d.finite()
	}
	if err == nil {
		err = d.run(r.Once)
	}
	return d.closeWith(err)
}

// acceptedGaps sorts PIPELINE/DESTINATION arguments by pipeline.
func acceptedGaps(cfg *config.Config, args []string) (map[string][]string, error) {
	gaps := map[string][]string{}
	for _, arg := range args {
		stream, name, _ := strings.Cut(arg, "/")
		known := slices.ContainsFunc(cfg.Pipelines, func(p config.Pipeline) bool {
			return p.Name == stream && slices.ContainsFunc(p.Destinations, func(d config.Destination) bool { return d.Name == name })
		})
		if !known {
			return nil, fmt.Errorf("--accept-gap %s: the configuration has no such destination, want PIPELINE/DESTINATION", arg)
		}
		gaps[stream] = append(gaps[stream], name)
	}
	return gaps, nil
}

// daemon is a configuration at work.
type daemon struct {
	cfg       *config.Config
	console   *console
	log       *slog.Logger
	clock     hydrant.Clock
	dir       *dataDir
	group     *group
	mux       *mux
	meters    *meters
	admin     *admin
	memories  [2]*hydrant.Memory // the doors', the deliveries'
	pipelines []*pipeline
	started   time.Time
	once      bool        // run --once
	ready     atomic.Bool // the doors take records in
}

// open makes everything ready to run and starts nothing. What it opened is closed again if it cannot.
func open(c *console, cfg *config.Config, gaps map[string][]string) (*daemon, error) {
	dir, err := openDataDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	d := &daemon{
		cfg: cfg, console: c, log: newLogger(c.screen, cfg.Log), clock: hydrant.NewSystemClock(),
		dir: dir, group: &group{}, meters: newMeters(),
	}
	d.started = d.clock.Wall()
	d.mux = &mux{log: d.log, count: d.meters.answered}
	if err := d.openParts(gaps); err != nil {
		return nil, d.closeWith(err)
	}
	return d, nil
}

func (d *daemon) openParts(gaps map[string][]string) error {
	limit := cgroupLimit()
	doors, deliveries := budget(d.cfg.Memory, limit)
	if d.cfg.Memory == 0 && limit > 0 && limit/2 < leastMemory {
		d.log.Warn("the cgroup's memory limit is small, more than half of it is used; raise it, or set memory",
			"limit", config.Size(limit).String(), "memory", config.Size(leastMemory).String())
	}
	d.memories = [2]*hydrant.Memory{hydrant.NewMemory(doors), hydrant.NewMemory(deliveries)}
	w := &workshop{
		kinds: d.console.kinds, fs: meteredFS{hydrant.OS{}, d.clock, d.meters}, clock: d.clock, log: d.log, group: d.group,
		mux: d.mux, meters: d.meters, doors: d.memories[0], deliveries: d.memories[1], dataDir: d.cfg.DataDir, acceptGap: gaps,
	}
	for _, p := range d.cfg.Pipelines {
		opened, err := w.pipeline(p)
		if err != nil {
			return err
		}
		d.pipelines = append(d.pipelines, opened)
	}
	d.meters.collect(d)
	var err error
	if d.admin, err = openAdmin(d); err != nil {
		return err
	}
	return d.mux.bind()
}

// closeWith gives everything back and returns err, and what went wrong on the way.
func (d *daemon) closeWith(err error) error {
	d.mux.close()
	if d.admin != nil {
		d.admin.close()
	}
	d.group.Wait()
	var closing error
	for _, p := range d.pipelines {
		closing = errors.Join(closing, p.close())
	}
	closing = errors.Join(closing, d.dir.Close())
	if err != nil {
		return err
	}
	return closing
}

// leastMemory is the least that `memory` can be set to, in bytes: batches of the common sizes need it.
const leastMemory = 64 << 20

// cgroupLimit is the most memory that the cgroup may take, in bytes; 0: there is no limit.
func cgroupLimit() int64 {
	limit, err := memlimit.FromCgroup()
	if err != nil {
		return 0
	}
	return int64(min(limit, 1<<40))
}

// budget splits memory: a quarter for the doors, the rest for the deliveries. The Go runtime is told to collect harder
// before it takes much more than both.
func budget(configured config.Size, limit int64) (doors, deliveries int64) {
	total := int64(configured)
	if total == 0 {
		total = 256 << 20
		if limit > 0 {
			total = max(leastMemory, min(total, limit/2))
		}
	}
	debug.SetMemoryLimit(total + 48<<20)
	return total / 4, total - total/4
}

func newLogger(to io.Writer, cfg config.LogConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		panic("BUG: config let log.level pass: " + cfg.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

// finite tells which source would keep run --once from ending.
func (d *daemon) finite() error {
	for _, p := range d.pipelines {
		for _, s := range p.doors {
			if !s.Finite() {
				return fmt.Errorf("run --once: pipeline %s: the source %s never ends: leave out --once or the source", p.name, s)
			}
		}
	}
	return nil
}

// run works until it is told to stop, or with once until everything that was there is delivered. Stages start bottom up and
// stop top down; what is acknowledged is on disk at any time, so that any of this may be cut short.
func (d *daemon) run(once bool) error {
	d.once = once
	signalled, release := d.group.signals(func(s os.Signal) { d.log.Warn("second signal, ending at once", "signal", s.String()) })
	defer release()
	progress := d.progress(once)

	admin := d.group.start(stage{"admin", d.admin.serve})
	deliveries := d.group.start(stage{"delivery", d.deliver(once || d.cfg.Shutdown.Drain)})
	intake := &intake{daemon: d}
	doors := d.group.start(stage{"ingest", intake.run})
	d.ready.Store(true)
	d.announce()

	if once {
		progress.wait(signalled, doors.ended)
		deliveries.drainAfter(doors, signalled, progress)
	} else {
		progress.wait(signalled)
	}
	obeyed := true
	if isClosed(signalled) {
		obeyed = d.shutdown(doors, deliveries)
	}
	d.ready.Store(false)
	progress.end(!intake.failed.Load() && !isClosed(signalled))
	d.sayLeft()
	obeyed = admin.end(d.clock, d.clock.Mono()+time.Second) && obeyed
	if once {
		return d.outcome(intake.failed.Load(), isClosed(signalled), progress.began)
	}
	if !obeyed {
		d.log.Error("a system call does not return, ending without it")
		os.Exit(exitOK) // nothing acknowledged is lost, and it was asked for
	}
	return nil
}

// announce says what is at work now, and what is kept without being of use.
func (d *daemon) announce() {
	for _, p := range d.pipelines {
		p.describe(d.log, d.once)
	}
	found, err := orphans(hydrant.OS{}, d.cfg)
	if err != nil {
		d.log.Warn("orphans cannot be looked for", "err", err)
	}
	for _, o := range found {
		d.log.Warn("orphaned: not in the configuration, and keeps its records until buffer forget", "stream", o.Pipeline, "delivery", o.Destination)
	}
	d.notify(sd.SdNotifyReady)
}

// drainAfter lets the deliveries come to their end when all doors have come to theirs, unless a signal is first.
func (r *running) drainAfter(doors *running, signalled <-chan struct{}, p *progress) {
	if isClosed(signalled) {
		return
	}
	r.finish()
	p.wait(signalled, r.ended)
}

// shutdown closes the doors and ends the deliveries within the grace. False: something does not even obey its context.
func (d *daemon) shutdown(doors, deliveries *running) bool {
	d.ready.Store(false)
	d.notify(sd.SdNotifyStopping)
	grace := d.cfg.Shutdown.Grace
	d.log.Info("stopping", "grace", config.FormatDuration(grace), "drain", d.cfg.Shutdown.Drain)
	now := d.clock.Mono()
	// A client that does not come to an end, or a full log, must leave time for the deliveries.
	obeyed := doors.end(d.clock, now+grace/2)
	return deliveries.end(d.clock, now+grace) && obeyed
}

func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("the service manager cannot be told", "err", err)
	}
}

// deliver runs all deliveries. Without drain they end at once on stop: what is Ready stays so.
func (d *daemon) deliver(drain bool) func(ctx context.Context, stop <-chan struct{}) {
	return func(ctx context.Context, stop <-chan struct{}) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var ends []<-chan struct{}
		for _, p := range d.pipelines {
			if !d.reopens(p) {
				ends = append(ends, d.deliverOf(ctx, stop, p)...)
				continue
			}
			ended := make(chan struct{})
			ends = append(ends, ended)
			d.group.Go("open "+p.name, func() {
				defer close(ended)
				if d.reopen(ctx, stop, p) {
					d.await(d.deliverOf(ctx, stop, p))
				}
			})
		}
		if !drain {
			_ = d.clock.Wait(ctx, hydrant.Never, stop) // both end the deliveries
			cancel()
		}
		d.await(ends)
	}
}

// deliverOf starts the deliveries of p, and returns what they close at their ends.
func (d *daemon) deliverOf(ctx context.Context, stop <-chan struct{}, p *pipeline) (ends []<-chan struct{}) {
	for _, o := range p.now().deliveries {
		if o.err != nil {
			continue
		}
		ended := make(chan struct{})
		ends = append(ends, ended)
		d.group.Go("delivery "+p.name+"/"+o.name, func() {
			defer close(ended)
			if err := o.Run(ctx, stop); err != nil && ctx.Err() == nil {
				d.log.Error("a delivery ended", "stream", p.name, "delivery", o.name, "err", err)
			}
		})
	}
	return ends
}

// await returns when all of ends are closed.
func (d *daemon) await(ends []<-chan struct{}) {
	for _, ended := range ends {
		<-ended
	}
}

// intake runs all doors.
type intake struct {
	*daemon
	failed atomic.Bool // a source ended with an error
}

func (i *intake) run(ctx context.Context, stop <-chan struct{}) {
	served := make(chan struct{})
	ends := []<-chan struct{}{served}
	for _, p := range i.pipelines {
		for _, s := range p.doors {
			if p.now().err != nil && !i.reopens(p) {
				i.failed.Store(true)
				continue
			}
			ended := make(chan struct{})
			ends = append(ends, ended)
			i.group.Go("source "+s.String(), func() {
				defer close(ended)
				_ = i.clock.Wait(ctx, hydrant.Never, p.opened, stop)
				log := p.now().log
				if log == nil {
					return // it could not be opened to the end
				}
				err := s.run(ctx, stop, log)
				switch {
				case err != nil && ctx.Err() == nil:
					i.failed.Store(true)
					i.log.Error("a source ended", "stream", p.name, "source", s.String(), "err", err)
				case s.Finite() && !isClosed(stop):
					i.log.Info("a source came to its end", "stream", p.name, "source", s.String())
				}
			})
		}
	}
	i.group.Go("http", func() {
		defer close(served)
		if len(i.mux.listeners) > 0 {
			i.mux.serve(ctx, stop, i.clock, i.group.Go)
		}
	})
	i.await(ends)
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// sayLeft tells what is not delivered yet.
func (d *daemon) sayLeft() {
	for _, p := range d.pipelines {
		for _, o := range p.now().deliveries {
			if n := o.pending(); n > 0 {
				d.log.Warn("records are left for the next start", "stream", p.name, "delivery", o.name, "records", n)
			}
		}
	}
}

// outcome is how run --once went.
func (d *daemon) outcome(failed, stopped bool, began tally) error {
	end := d.tally()
	switch {
	case stopped:
		return errors.New("run --once: stopped before the end")
	case failed:
		return errors.New("run --once: not everything could be read, see above")
	case end.unknown || end.pending > 0:
		return fmt.Errorf("run --once: not everything was delivered: %s", end.trouble)
	case end.refused.Records > began.refused.Records:
		return &exit{exitPartial, fmt.Sprintf("run --once: %s refused, see the error output", plural(end.refused.Records-began.refused.Records, "record"))}
	}
	return nil
}
