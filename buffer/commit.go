package buffer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hydrantd/hydrant"
)

// Group commit by the leader: whoever finds no group that it fits into founds one and leads it. While a leader writes and syncs
// its block, the next group gathers behind it. Nobody else works for an appender, and there is no goroutine.

// groupSize is the size of a block at which its group takes nobody else.
const groupSize = 1 << 20

// fullRetry is how long a log that is full refuses without trying, unless something was freed.
const fullRetry = time.Second

// group is the Writes that go into one block.
type group struct {
	done   chan struct{} // closed when err and the receipts are set
	writes []*pending
	size   int64 // bytes of the block, at the most
	err    error
}

// pending is a Write on its way.
type pending struct {
	*Write
	lane    int   // of all records, when per is nil
	per     []int // of each record
	size    int64 // its share of the block, at the most
	receipt Receipt
}

func (p *pending) count() int {
	if p.Batch == nil {
		return 0
	}
	return p.Batch.Len()
}

// Append implements Log.
func (d *Disk) Append(ctx context.Context, w *Write) (Receipt, error) {
	p := &pending{Write: w}
	if len(w.Notes) > 0 {
		check := newFold()
		if err := check.apply(w.Notes); err != nil {
			return Receipt{}, err
		}
	}
	d.mu.Lock()
	d.writes++
	turn := d.writes
	d.mu.Unlock()
	// Before they are sorted by shard, which takes memory for each record.
	p.size = headLen + blockAlign + runLen*d.lanes.most(p.count()) + payloadSize(w.Batch, w.Notes)
	if most := min(MaxBlock, d.o.MaxBytes); p.size > most {
		return Receipt{}, fmt.Errorf("%w: the records make a block of up to %d bytes, the most is %d", ErrTooLarge, p.size, most)
	}
	if w.Batch != nil {
		p.lane, p.per = d.lanes.route(w.Batch, turn)
	}
	for {
		heard := d.space.Listen()
		err := d.commit(ctx, p)
		if err == nil || !w.Block || !errors.Is(err, ErrFull) {
			return p.receipt, err
		}
		err = d.o.Clock.Wait(ctx, d.o.Clock.Mono()+fullRetry, heard)
		if err != nil && !errors.Is(err, hydrant.ErrDeadline) {
			return Receipt{}, err
		}
	}
}

// commit brings p into a group and returns with its outcome.
func (d *Disk) commit(ctx context.Context, p *pending) error {
	mono := d.o.Clock.Mono()
	g, lead, err := d.admit(ctx, p, mono)
	switch {
	case err != nil:
		return err
	case lead:
		d.lead(g)
	default:
		// Admitted: ctx counts no more.
		if err := d.o.Clock.Wait(nil, hydrant.Never, g.done); err != nil {
			return err
		}
	}
	return g.err
}

// admit puts p into the group that is forming, or founds one, which the caller then leads.
func (d *Disk) admit(ctx context.Context, p *pending, mono time.Duration) (g *group, lead bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refusal(mono); err != nil {
		return nil, false, err
	}
	if g = d.forming; g != nil && g.size+p.size <= groupSize {
		g.writes, g.size = append(g.writes, p), g.size+p.size
		return g, false, nil
	}
	g = &group{done: make(chan struct{}), writes: []*pending{p}, size: p.size}
	d.forming = g
	return g, true, nil
}

// refusal is why nothing is admitted now. mu is held.
func (d *Disk) refusal(mono time.Duration) error {
	switch {
	case d.closed:
		return ErrClosed
	case d.poisoned != nil:
		return fmt.Errorf("%w: %w", ErrPoisoned, d.poisoned)
	case d.full != nil && !d.full.freed && mono < d.full.since+fullRetry:
		return d.full.err
	}
	return nil
}

// lead waits for its turn, writes the block of g and tells everybody in it.
func (d *Disk) lead(g *group) {
	var admitted context.Context // ctx counts no more
	g.err = d.turn.Take(admitted, d.o.Clock)
	if g.err == nil {
		d.mu.Lock()
		if d.forming == g {
			d.forming = nil
		}
		if d.full != nil {
			d.full.freed = false
		}
		err := d.poisoned
		d.mu.Unlock()
		switch {
		case d.w.file == nil:
			g.err = ErrClosed
		case err != nil:
			g.err = fmt.Errorf("%w: %w", ErrPoisoned, err)
		default:
			g.err = d.write(g)
		}
		d.settle(g.err)
		d.turn.Give()
	}
	close(g.done)
}

// settle remembers whether the log is full, for those that come next.
func (d *Disk) settle(err error) {
	if err != nil && !errors.Is(err, ErrFull) {
		return
	}
	if err == nil {
		d.mu.Lock()
		d.full = nil
		d.mu.Unlock()
		return
	}
	mono := d.o.Clock.Mono()
	d.mu.Lock()
	was := d.full
	d.full = &fullness{err: err, since: mono, freed: was != nil && was.freed}
	d.mu.Unlock()
	d.warn("buffer full, appends are refused until there is space", err)
}

// write makes g durable in one block. The caller holds the turn.
func (d *Disk) write(g *group) error {
	s := scratches.Get().(*scratch)
	defer s.release()
	for {
		err := d.prepare(g.size)
		for errors.Is(err, ErrFull) && d.overtake() {
			err = d.prepare(g.size)
		}
		if err != nil {
			return err
		}
		b := d.gather(g, s)
		w := &d.w
		b.head.seq, b.head.prev = w.seq, w.prev
		s.buf = appendBlock(s.buf[:0], &w.seg.salt, &b.head, b.recs, b.notes)
		_, err = w.file.WriteAt(s.buf, w.at)
		if err == nil {
			err = w.file.Sync(hydrant.PointBlock)
			if err != nil && !hydrant.Sabotaged(hydrant.RulePoisonOnFsync) {
				return d.failedSync(err) // I7
			}
			d.publish(g, b)
			return nil
		}
		if err := d.abandon(err); err != nil {
			return err
		}
	}
}

// prepare makes sure that a block of n bytes can be written, and be read and spooled on a full disk.
func (d *Disk) prepare(n int64) error {
	if err := d.raiseReserves(n); err != nil {
		return err
	}
	return d.room(n)
}

// abandon gives up the segment being written after a failed write. What may have reached it of the block is cut off,
// so that it cannot come back at a recovery after the appenders were told otherwise.
func (d *Disk) abandon(cause error) error {
	w := &d.w
	d.warn("segment given up after a failed write", cause)
	w.left = true
	if err := w.file.Truncate(w.at); err != nil {
		return d.failedSync(errors.Join(cause, err))
	}
	if err := w.file.Sync(hydrant.PointBlock); err != nil {
		return d.failedSync(errors.Join(cause, err))
	}
	d.mu.Lock()
	d.disk -= w.seg.size - w.at
	w.seg.size = w.at
	d.mu.Unlock()
	return nil
}

// sealed is a block to be written.
type sealed struct {
	head  head
	recs  []hydrant.Record
	notes []Note
}

// scratch is the memory in which a group becomes a block.
type scratch struct {
	buf  []byte
	recs []hydrant.Record
}

// scratches are those of the whole process: what they take goes with the blocks that are being written, not with the number of
// logs.
var scratches = sync.Pool{New: func() any { return &scratch{} }}

// What is larger is not kept: of an oversized Write, or of a group of tiny records.
const (
	keptBlock   = 2 * groupSize
	keptRecords = 8192
)

func (s *scratch) release() {
	clear(s.recs)
	if cap(s.recs) > keptRecords {
		s.recs = nil
	}
	if cap(s.buf) > keptBlock {
		s.buf = nil
	}
	scratches.Put(s)
}

// gather sorts the records of g by lane, which gives them their positions, and makes the block.
func (d *Disk) gather(g *group, s *scratch) *sealed {
	running, wall := d.now()
	b := &sealed{head: head{kind: kindData, base: d.end, time: running, wall: wall, run: d.run}}
	at := make([]int, len(d.lanes.ids)+1) // where the records of a lane go next
	total := 0
	for _, p := range g.writes {
		total += p.count()
		b.notes = append(b.notes, p.Notes...)
		if p.per == nil {
			at[p.lane+1] += p.count()
			continue
		}
		for _, lane := range p.per {
			at[lane+1]++
		}
	}
	for i := 1; i < len(at); i++ {
		at[i] += at[i-1]
	}
	if cap(s.recs) < total {
		s.recs = make([]hydrant.Record, total)
	}
	s.recs = s.recs[:total]
	recs := s.recs
	for _, p := range g.writes {
		p.receipt = Receipt{Log: d.id, Run: d.run, Time: running, first: d.end}
		if p.per != nil {
			p.receipt.positions = make([]hydrant.Position, len(p.per))
		} else {
			p.receipt.first += hydrant.Position(at[p.lane])
		}
		for i := range p.count() {
			lane := p.lane
			if p.per != nil {
				lane = p.per[i]
			}
			r := &recs[at[lane]]
			*r = *p.Batch.At(i)
			r.Pos, r.Shard, r.Time = d.end+hydrant.Position(at[lane]), d.lanes.ids[lane], running
			if p.per != nil {
				p.receipt.positions[i] = r.Pos
			}
			at[lane]++
		}
	}
	b.recs = recs
	return b
}

// publish makes a block that is durable known to everybody.
func (d *Disk) publish(g *group, b *sealed) {
	w := &d.w
	var bytes int64
	for i := range b.recs {
		bytes += int64(len(b.recs[i].Data))
	}
	w.at, w.seq, w.prev, w.bare = w.at+int64(b.head.length), w.seq+1, b.head.crc, true
	d.mu.Lock()
	d.end += hydrant.Position(len(b.recs))
	w.seg.next, w.seg.limit = d.end, w.at
	d.lastTime = b.head.time
	d.fold.appended.Add(Totals{int64(len(b.recs)), bytes})
	bad := d.fold.apply(b.notes)
	d.mu.Unlock()
	if bad != nil {
		panic("BUG: " + bad.Error()) // Append has looked at them
	}
	d.grown.Ring()
}
