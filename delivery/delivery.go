// Package delivery takes records from a log to one destination, each exactly once: it builds batches into the spool,
// makes them Ready, ships them and records them as Done (ARCHITECTURE.md, I8–I16).
package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
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
	o      Options
	log    hydrant.LogID
	logger *slog.Logger
	health health
	spool  spool
	drain  <-chan struct{}

	turn   hydrant.Turn     // of claiming
	from   hydrant.Position // the next claim; the holder of turn has it, and seen and due
	seen   hydrant.Position // the beginning of a batch of which records have been seen
	due    time.Duration    // when it ends at the latest
	opened hydrant.Position // what is before it is of earlier runs
	room   *hydrant.Memory  // the spool's share, as a budget
	share  int64            // what one batch takes of it
	bell   hydrant.Bell     // a Done waits

	hungry                     atomic.Int32 // workers that wait for room
	attempts, failures, number atomic.Int64
	batches                    atomic.Int64
	idle                       atomic.Int32 // workers that have ended

	mu       sync.Mutex
	journal  *journal // nil while it cannot be opened
	held     error    // why the delivery can do nothing more until a restart
	drains   bool
	wake     context.CancelFunc         // ends the wait for records
	loose    []hydrant.Span             // rests of claims, oldest first
	restored []*batch                   // Ready in an earlier process, oldest first
	parked   []error                    // batches whose spooled files are damaged
	rooms    map[uint64]int64           // of batches whose Done is not durable yet
	progress map[hydrant.Position]int64 // arrival of the first record of each batch under way, Unix ms
	last     time.Time                  // of the last delivery
}

// Open reads the journal and looks at the spool. It sends nothing. A delivery whose journal cannot be used is opened
// all the same and holds: the others are not its affair (I16). An error is a mistake in the options.
func Open(o Options) (*Delivery, error) {
	if o.Sink == nil || o.Errors == nil || o.Log == nil || o.Dir == "" {
		return nil, fmt.Errorf("delivery %s/%s: a log, a sink, an error output and a spool folder are needed", o.Pipeline, o.Destination)
	}
	if o.Batch.Size <= 0 {
		return nil, fmt.Errorf("delivery %s/%s: batch size %d, want more than 0", o.Pipeline, o.Destination, o.Batch.Size)
	}
	o.Concurrency = max(1, o.Concurrency)
	d := &Delivery{
		o: o, log: o.Log.State().Log, logger: o.Logger.With("stream", o.Pipeline, "delivery", o.Destination),
		rooms: map[uint64]int64{}, progress: map[hydrant.Position]int64{},
	}
	d.health = health{clock: o.Clock, log: d.logger}
	d.spool = spool{fs: o.FS, dir: o.Dir, lend: func(n int64) error { return d.journal.lend(n) }}
	d.share = o.Batch.Size + o.Batch.Size/8 + 1<<20
	total := int64(o.Concurrency+1) * d.share
	if o.SpoolBytes > 0 {
		total = o.SpoolBytes
		d.share = min(d.share, total/int64(o.Concurrency))
	}
	d.room = hydrant.NewMemory(total)
	d.tryOpen()
	return d, nil
}

// open reads the journal, and makes of it what is to be done: batches to ship again, holes between them, the rest of the log.
func (d *Delivery) open() error {
	if err := d.spool.make(); err != nil {
		return err
	}
	j, err := openJournal(d.o.Log, d.o.Destination, d.o.Clock)
	if err != nil {
		return err
	}
	s := j.view()
	if err := d.behind(s); err != nil {
		return errors.Join(err, j.cursor.Close())
	}
	err = d.spool.clean(func(number uint64) bool {
		for _, e := range s.open {
			if e.ready.batch == number && e.done == nil {
				return true
			}
		}
		return false
	})
	if err != nil {
		return errors.Join(fmt.Errorf("spool: %w", err), j.cursor.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal, d.from, d.held, d.opened = j, s.committed, nil, d.o.Log.State().End
	d.number.Store(int64(s.nextBatch) - 1)
	for _, e := range s.open {
		if e.ready.span.From > d.from {
			d.loose = append(d.loose, hydrant.Span{From: d.from, To: e.ready.span.From})
		}
		d.from = e.ready.span.To
		if e.done != nil {
			continue
		}
		b := &batch{ready: e.ready, outcome: e.outcome, restored: true}
		for _, v := range e.saves {
			if v.to < suffixes {
				b.saved[v.to] = v.note
			}
		}
		// What is there is there, also when the share was made smaller. A batch behind a hole takes no room: whoever fills the
		// hole needs it first, and holds the turn without which nobody comes to ship what would give it back.
		if n := b.spooled(); len(d.loose) == 0 && d.room.Try(n) {
			b.room = n
		}
		d.restored = append(d.restored, b)
		if b.time != 0 {
			d.progress[b.span.From] = b.time
		}
	}
	return nil
}

// behind refuses a journal that knows positions which the log has yet to give: they would be taken for delivered when new records
// get them. The log looks for it too; this is the second line.
func (d *Delivery) behind(s *state) error {
	to := s.committed
	if n := len(s.open); n > 0 {
		to = max(to, s.open[n-1].ready.span.To)
	}
	end := d.o.Log.State().End
	if to <= end {
		return nil
	}
	name := d.o.Pipeline + "/" + d.o.Destination
	return sinks.Operator(fmt.Errorf("%w: the journal of %s reaches up to position %d, the log ends at %d", buffer.ErrBehind, name, to, end),
		"restore the newer volume, or go on without those records by `hydrant run --accept-gap "+name+"`")
}

// Run delivers until ctx ends, and then returns its error at once (whatever was under way is safe), or until drain is closed and
// everything up to the log's end is delivered and recorded. A delivery that can do nothing more stays, for its status, until
// either comes, and then returns why. Run returns only when its workers have ended.
func (d *Delivery) Run(ctx context.Context, drain <-chan struct{}) error {
	d.drain = drain
	defer d.Close()
	if err := d.reopen(ctx); err != nil {
		return err
	}
	ended := make(chan struct{})
	for i := range d.o.Concurrency {
		d.o.Go("deliver "+d.o.Pipeline+"/"+d.o.Destination+" "+strconv.Itoa(i), func() {
			d.work(ctx)
			if d.idle.Add(1) == int32(d.o.Concurrency) {
				close(ended)
			}
		})
	}
	for int(d.idle.Load()) < d.o.Concurrency && ctx.Err() == nil {
		heard, on := d.bell.Listen(), []<-chan struct{}{ended}
		if !d.draining() {
			on = append(on, drain)
		}
		err := d.o.Clock.Wait(ctx, d.journal.due(), append(on, heard)...)
		switch {
		case errors.Is(err, hydrant.ErrDeadline):
			d.flush() // an error is the workers' to meet, and status has it
		case err == nil && !d.draining() && d.o.Clock.Wait(nil, 0, drain) == nil:
			d.beginDrain()
		}
	}
	d.o.Clock.Wait(nil, hydrant.Never, ended)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for tries := 1; d.flush() == nil && d.journal.due() != hydrant.Never; tries++ {
		if err := d.pause(ctx, tries, hydrant.Never); err != nil {
			return err
		}
	}
	return d.rest(ctx)
}

// reopen opens what could not be opened for want of space, as soon as there is some.
func (d *Delivery) reopen(ctx context.Context) error {
	t := trouble{h: &d.health}
	for {
		err := d.heldBy()
		if err == nil {
			t.over()
			return nil
		}
		if !hydrant.NoSpace(err) {
			return d.rest(ctx)
		}
		t.failed("opening", hydrant.Span{}, err)
		if err := d.pause(ctx, t.tries, hydrant.Never); err != nil {
			return err
		}
		d.tryOpen()
	}
}

// tryOpen opens, or holds; want of space is Run's to wait out.
func (d *Delivery) tryOpen() {
	err := d.open()
	d.mu.Lock()
	d.held = nil
	if hydrant.NoSpace(err) {
		d.held = err
	}
	d.mu.Unlock()
	if err != nil && !hydrant.NoSpace(err) {
		d.hold(err)
	}
}

// rest is the end of Run: at once when all is delivered, else when ctx ends or a drain asks.
func (d *Delivery) rest(ctx context.Context) error {
	err := d.heldBy()
	if err == nil {
		return nil
	}
	if werr := d.o.Clock.Wait(ctx, hydrant.Never, d.drain); werr != nil {
		return werr
	}
	return fmt.Errorf("delivery %s/%s: %w", d.o.Pipeline, d.o.Destination, err)
}

// Close gives the journal back. Run does it as well.
func (d *Delivery) Close() error {
	d.mu.Lock()
	j := d.journal
	d.mu.Unlock()
	if j == nil {
		return nil
	}
	return j.close()
}

// hold makes err the reason why nothing is done any more. After a failed sync of the journal nobody knows what it
// says, so nothing more is sent until a restart (I7).
func (d *Delivery) hold(err error) {
	if class, _ := classOf(err); class != operator {
		err = sinks.Operator(err, remedyOf(err))
	}
	d.mu.Lock()
	first := d.held == nil
	if first {
		d.held = err
	}
	d.mu.Unlock()
	if first {
		t := trouble{h: &d.health} // it stays
		t.failed("keeping the journal", hydrant.Span{}, err)
	}
}

func remedyOf(err error) string {
	if errors.Is(err, buffer.ErrNewerFormat) {
		return "run the version of hydrant that wrote it, or a newer one"
	}
	return "look after the disk of data_dir, then restart hydrant"
}

// heldBy is why the delivery does nothing more, or not everything.
func (d *Delivery) heldBy() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		return d.held
	}
	return errors.Join(d.parked...)
}

// park puts a batch aside that can neither be shipped nor built again. committed stays before it.
func (d *Delivery) park(b *batch, why error) {
	d.mu.Lock()
	d.parked = append(d.parked, fmt.Errorf("batch %d (records %s): %w", b.ready.batch, b.span, why))
	d.mu.Unlock()
	d.room.Give(b.room)
}

func (d *Delivery) beginDrain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drains = true
	if d.wake != nil {
		d.wake()
	}
}

func (d *Delivery) draining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drains
}

func (d *Delivery) nextNumber() uint64 { return uint64(d.number.Add(1)) }

// oldest notes the arrival of the first record of the batch that begins at from, 0 if damage hides it; settledOne forgets it.
func (d *Delivery) oldest(from hydrant.Position, arrival int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if arrival != 0 {
		d.progress[from] = arrival
	}
}

func (d *Delivery) settledOne(from hydrant.Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.progress, from)
}
