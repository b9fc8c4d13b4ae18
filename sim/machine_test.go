package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/delivery"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/file"
	"github.com/hydrantd/hydrant/sinks/object"
	"github.com/hydrantd/hydrant/sinks/s3"
)

const (
	pipeline  = "app"
	streamDir = "/data/streams/" + pipeline
)

// machine is a host with its disk, on which one daemon lives many lives.
type machine struct {
	*scenario
	name     string
	disk     *Disk
	skew     time.Duration // of its time of day
	shards   int
	maxBytes int64
	fat      int // size of the records, at the most
	dests    []*destination
	poor     func([]byte) // where its run ids come from, if not from the seed

	records   []*record // given to this machine, or to the one it is a copy of, and to this log
	strays    []*record // given to a log that was wiped: they may be missing
	damaged   bool      // its log was damaged
	acceptGap []string
	lives     int
	made      int // records

	byID  map[string]*record
	final map[string]delivery.Status // by destination, at the end
	log   hydrant.LogID              // at the end
}

// destination is one of a machine's, as configured now.
type destination struct {
	name, kind  string // kind: file, s3, target
	layout      object.Layout
	bucket      string
	batch       delivery.Batch
	concurrency int
	giveUp      time.Duration
	function    bool
	mixed       bool // the function came or went
	off         bool // not in the configuration now
	target      *target
	since       int // records before this one need not be there: it was added later
}

// life is a daemon at work.
type life struct {
	p      *Process
	log    *buffer.Disk
	memory *hydrant.Memory
	dests  []*destination
	works  []*delivery.Delivery
	ended  []chan struct{} // of each work
	errs   []error
	sinks  []sinks.Sink
	stop   chan struct{} // producers end
	drain  chan struct{}
	cancel context.CancelFunc
	up     chan struct{} // closed when boot has ended
	err    error         // of boot
	told   []chan struct{}
}

// boot is what cmd/hydrant does at start. It runs as an actor of the process.
func (m *machine) boot(l *life) error {
	p := l.p
	fsys := m.disk.FS(p)
	logger := m.logger(m.name)
	var names []string
	for _, d := range m.dests {
		if !d.off {
			names = append(names, d.name)
		}
	}
	log, _, err := buffer.Open(buffer.Options{
		FS: fsys, Clock: p, Rand: &entropy{p, m.poor}, Dir: streamDir, Name: pipeline, Shards: m.shards, MaxBytes: m.maxBytes, Logger: logger,
		Cursors: names, AcceptGap: m.acceptGap,
	})
	if errors.Is(err, buffer.ErrBehind) && m.damaged {
		// The operator reads the message and does what it says.
		for _, d := range m.dests {
			m.acceptGap = append(m.acceptGap, d.name)
		}
	}
	if err != nil {
		return err
	}
	l.log, l.memory = log, hydrant.NewMemory(64<<20)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for _, d := range m.dests {
		if d.off {
			continue
		}
		if err := m.open(ctx, l, d, logger); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	for i := range 1 + m.w.Rand.IntN(3) {
		told := make(chan struct{})
		l.told = append(l.told, told)
		p.Go(fmt.Sprintf("producer%d", i), func() {
			defer close(told)
			m.produce(ctx, l)
		})
	}
	return nil
}

func (m *machine) open(ctx context.Context, l *life, d *destination, logger *slog.Logger) error {
	sink, err := m.sink(l.p, d, logger)
	if err != nil {
		return err
	}
	errs, err := file.Kind.Open(&file.Config{Path: config.Path("/data/errors/" + d.name), Layout: object.Layout{TimeZone: "UTC", Compression: "none", Delimiter: "\n"}}, m.deps(l.p, d.name, logger))
	if err != nil {
		return err
	}
	o := delivery.Options{
		Pipeline: pipeline, Destination: d.name, Log: l.log, Sink: sink, Errors: errs,
		FS: m.disk.FS(l.p), Clock: l.p, Rand: l.p, Memory: l.memory, Logger: logger, Go: l.p.Go,
		Dir: streamDir + "/spool/" + d.name, Batch: d.batch, Concurrency: d.concurrency, GiveUpAfter: d.giveUp,
	}
	if d.function {
		o.Transform = function{m.w}
	}
	work, err := delivery.Open(o)
	if err != nil {
		return err
	}
	i, ended := len(l.works), make(chan struct{})
	l.dests, l.works, l.ended, l.errs = append(l.dests, d), append(l.works, work), append(l.ended, ended), append(l.errs, nil)
	l.sinks = append(l.sinks, sink, errs)
	l.p.Go("delivery "+d.name, func() {
		defer close(ended)
		l.errs[i] = work.Run(ctx, l.drain)
	})
	return nil
}

func (m *machine) deps(p *Process, dest string, logger *slog.Logger) sinks.Deps {
	return sinks.Deps{Pipeline: pipeline, Destination: dest, FS: m.disk.FS(p), Clock: p, Rand: p, HTTP: m.store.Client(p), Log: logger, Timeout: time.Minute}
}

func (m *machine) sink(p *Process, d *destination, logger *slog.Logger) (sinks.Sink, error) {
	deps := m.deps(p, d.name, logger)
	switch d.kind {
	case "file":
		return file.Kind.Open(&file.Config{Path: config.Path("/out/" + d.name), Layout: d.layout}, deps)
	case "s3":
		return s3.Kind.Open(&s3.Config{
			Bucket: d.bucket, Region: "us-east-1", Endpoint: "http://store.example", Layout: d.layout,
			Auth: s3.Auth{AccessKeyID: "key", SecretAccessKey: config.NewSecret("secret")},
		}, deps)
	}
	return d.target.open(p), nil
}

// entropy is the random bytes of a log: run ids (4 bytes) can be made to repeat those of another machine.
type entropy struct {
	p    *Process
	poor func([]byte)
}

func (e *entropy) Read(b []byte) (int, error) {
	if len(b) == len(hydrant.RunID{}) && e.poor != nil {
		e.poor(b)
		return len(b), nil
	}
	return e.p.Read(b)
}

// produce appends records and notes what it is told of them.
func (m *machine) produce(ctx context.Context, l *life) {
	w := m.w
	key := fmt.Appendf(nil, "key%d", w.Rand.IntN(5))
	var b hydrant.Batch
	for !closed([]<-chan struct{}{l.stop}) {
		b.Reset()
		var mine []*record
		n := 1 + w.Rand.IntN(12)
		if m.even {
			n = 4
		}
		for range n {
			m.made++
			r := &record{id: fmt.Sprintf("%s-%d", m.name, m.made), class: classes[w.Rand.IntN(len(classes))], size: 40 + w.Rand.IntN(m.fat), by: l.p.Name}
			mine = append(mine, r)
			b.Append(hydrant.Record{Key: key, Data: r.text()})
		}
		m.records = append(m.records, mine...)
		m.sent += len(mine)
		receipt, err := l.log.Append(ctx, &buffer.Write{Batch: &b, Block: w.Rand.IntN(2) == 0})
		for i, r := range mine {
			switch {
			case err == nil:
				r.said, r.log, r.run, r.pos = acknowledged, receipt.Log, receipt.Run, receipt.Position(i)
			case errors.Is(err, buffer.ErrFull), errors.Is(err, buffer.ErrTooLarge), errors.Is(err, buffer.ErrClosed), ctx.Err() != nil && errors.Is(err, ctx.Err()):
				r.said = rejected
			}
		}
		if errors.Is(err, buffer.ErrPoisoned) || ctx.Err() != nil {
			return
		}
		pause := w.between(0, m.pace)
		if l.p.Crash != nil && l.p.Crash.Point == hydrant.PointDone {
			pause = w.between(0, 3*time.Second)
		}
		if w.chance(30_000) {
			pause = w.between(0, 3*time.Second)
		}
		if err := l.p.Wait(ctx, l.p.World.now-l.p.born+pause, l.stop); !errors.Is(err, hydrant.ErrDeadline) {
			return
		}
	}
}

// start begins a life; the caller waits for l.up or the process's end.
func (m *machine) start(plan *CrashPlan) *life {
	m.lives++
	p := m.w.NewProcess(m.name, m.disk, m.skew)
	p.Crash = plan
	l := &life{p: p, stop: make(chan struct{}), drain: make(chan struct{}), up: make(chan struct{})}
	p.Go("boot", func() {
		l.err = m.boot(l)
		close(l.up)
	})
	return l
}

// end stops a life as the first SIGTERM does: doors, deliveries, log. d bounds the drain. True: all was delivered.
func (m *machine) end(l *life, d time.Duration) bool {
	root := m.w.Root()
	close(l.stop)
	until := m.w.now + d
	// A door that waits for space is not let down by the deliveries; past the grace it is cut off.
	wait := func(on chan struct{}) bool {
		return root.Wait(nil, until, on, l.p.Gone()) == nil && !l.p.Dead()
	}
	drained := true
	for _, told := range l.told {
		drained = wait(told) && drained
	}
	if !drained {
		l.cancel()
		for _, told := range l.told {
			_ = root.Wait(nil, hydrant.Never, told, l.p.Gone())
		}
	}
	close(l.drain)
	for i, ended := range l.ended {
		drained = wait(ended) && l.errs[i] == nil && drained
	}
	l.cancel()
	for _, ended := range l.ended {
		_ = root.Wait(nil, hydrant.Never, ended, l.p.Gone())
	}
	return drained && !l.p.Dead()
}

// shut closes what a life has open, as an actor of its process, and ends the process.
func (m *machine) shut(l *life) {
	done := make(chan struct{})
	l.p.Go("close", func() {
		var errs []error
		if l.log != nil {
			errs = append(errs, l.log.Close())
		}
		for _, s := range l.sinks {
			errs = append(errs, s.Close())
		}
		if err := errors.Join(errs...); err != nil {
			m.logger(m.name).Info("closing", "err", err)
		}
		close(done)
	})
	_ = m.w.Root().Wait(nil, hydrant.Never, done, l.p.Gone())
	m.skew = l.p.Skew()
	l.p.Kill(false)
}

// clone makes a copy of the machine, which stands still.
func (m *machine) clone(name string) *machine {
	c := &machine{
		scenario: m.scenario, name: name, disk: m.disk.Clone(), skew: m.skew, shards: m.shards, maxBytes: m.maxBytes, fat: m.fat,
		records: slices.Clone(m.records), strays: slices.Clone(m.strays), damaged: m.damaged,
	}
	for _, d := range m.dests {
		e := *d
		if d.target != nil {
			e.target = d.target.clone()
		}
		c.dests = append(c.dests, &e)
	}
	m.store.Inherit(m.name, name)
	return c
}

// logger is silent, unless somebody looks at one seed.
func (s *scenario) logger(machine string) *slog.Logger {
	if s.w.Trace == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(s.w.Trace, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.String("machine", machine)
		}
		return a
	}}))
}
