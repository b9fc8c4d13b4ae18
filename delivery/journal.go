package delivery

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// settleWithin is how long a Done may wait for a frame that another entry causes.
const settleWithin = time.Second

// journal is the cursor of one delivery, shared by its workers. Whoever writes takes along what the others brought while
// the frame before was synced, as the log's appenders do.
type journal struct {
	clock  hydrant.Clock
	cursor buffer.Cursor
	turn   hydrant.Turn // holds cursor, which is for one at a time

	mu      sync.Mutex
	state   *state
	queue   []*request
	dones   []any         // of batches that have been shipped; they ride with the next frame
	since   time.Duration // when the first of dones came, or could not be written
	settled []uint64      // batches whose Done is durable and whose spool may go
	err     error         // why nothing is written any more (I7)
	closed  bool
}

var errClosed = errors.New("the journal is closed")

// request is a group of entries on its way into a frame.
type request struct {
	entries []any
	written bool
	err     error
}

// write makes entries durable. It is not interrupted: what is on its way to the disk has to be waited for. A full
// disk is an error that passes: nothing was written. After any other nothing is written any more.
func (j *journal) write(entries ...any) error {
	r := &request{entries: entries}
	j.mu.Lock()
	j.queue = append(j.queue, r)
	j.mu.Unlock()
	if err := j.turn.Take(nil, j.clock); err != nil {
		return err
	}
	defer j.turn.Give()
	if !r.written {
		j.lead()
	}
	return r.err
}

// lead writes one frame of all that waits. The caller holds the turn.
func (j *journal) lead() {
	j.mu.Lock()
	group, frame := j.queue, j.dones
	j.queue, j.dones = nil, nil
	rides := len(frame)
	for _, r := range group {
		frame = append(frame, r.entries...)
	}
	err, committed := j.err, j.state.with(frame)
	j.mu.Unlock()

	if err == nil && len(frame) > 0 {
		encoded := make([]buffer.Entry, len(frame))
		for i, v := range frame {
			encoded[i] = v.(interface{ entry() buffer.Entry }).entry()
		}
		if err = j.cursor.Write(pointOf(frame), committed, encoded, j.snapshot); err != nil {
			err = fmt.Errorf("journal: %w", err)
		}
	}

	now := j.clock.Mono()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range group {
		r.written, r.err = true, err
	}
	if err != nil {
		if j.err == nil && !hydrant.NoSpace(err) {
			j.err = err
		}
		// The Dones wait for another frame; the others are their workers' to bring again.
		j.dones, j.since = append(frame[:rides:rides], j.dones...), now
		return
	}
	for _, v := range frame {
		if err := j.state.apply(v); err != nil {
			panic("BUG: journal: " + err.Error())
		}
		if d, ok := v.(done); ok {
			j.settled = append(j.settled, d.batch)
		}
	}
	j.state.advance()
}

// snapshot is what the cursor asks for when it rewrites its file. Only a leader changes the state, and it is waiting.
func (j *journal) snapshot() []buffer.Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.snapshot()
}

// pointOf names the sync of a frame by the gravest of its entries.
func pointOf(frame []any) hydrant.Point {
	p, rank := hydrant.PointDone, 0
	for _, v := range frame {
		switch v.(type) {
		case ready:
			return hydrant.PointReady
		case outcome:
			p, rank = hydrant.PointOutcome, 3
		case save:
			if rank < 2 {
				p, rank = hydrant.PointSave, 2
			}
		case snapshot:
			if rank < 1 {
				p, rank = hydrant.PointSnapshot, 1
			}
		}
	}
	return p
}

// settle leaves a Done for the next frame.
func (j *journal) settle(d done) {
	now := j.clock.Mono()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.dones) == 0 {
		j.since = now
	}
	j.dones = append(j.dones, d)
}

// due is when the Dones that wait must be written for their own sake; Never when none wait.
func (j *journal) due() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.dones) == 0 || j.err != nil {
		return hydrant.Never
	}
	return j.since + settleWithin
}

// flush writes the Dones that wait, if any.
func (j *journal) flush() error {
	if j.due() == hydrant.Never {
		return j.failed()
	}
	return j.write()
}

// failed is why nothing can be written any more; nil while it can.
func (j *journal) failed() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// takeSettled returns the batches whose spool may go, once.
func (j *journal) takeSettled() []uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.settled
	j.settled = nil
	return s
}

// lend asks for n bytes of the space kept back for the spool.
func (j *journal) lend(n int64) error {
	if err := j.turn.Take(nil, j.clock); err != nil {
		return err
	}
	defer j.turn.Give()
	return j.cursor.Lend(n)
}

// view copies what status needs of the state.
func (j *journal) view() *state {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := *j.state
	s.open = make([]*entries, len(j.state.open))
	for i, e := range j.state.open {
		c := *e
		s.open[i] = &c
	}
	return &s
}

// close gives the cursor back, once.
func (j *journal) close() error {
	if err := j.turn.Take(nil, j.clock); err != nil {
		return err
	}
	defer j.turn.Give()
	j.mu.Lock()
	closed := j.closed
	j.closed = true
	if j.err == nil {
		j.err = errClosed
	}
	j.mu.Unlock()
	if closed {
		return nil
	}
	return j.cursor.Close()
}

// openJournal reads the journal of a delivery, or begins it.
func openJournal(log buffer.Log, name string, clock hydrant.Clock) (*journal, error) {
	cursor, err := log.Cursor(name, buffer.Oldest)
	if err != nil {
		return nil, err
	}
	j := &journal{clock: clock, cursor: cursor}
	if err := j.begin(log); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %w", err), cursor.Close())
	}
	return j, nil
}

// begin folds the entries; a journal that was just made gets its snapshot, so that the counts have a start (I13).
func (j *journal) begin(log buffer.Log) error {
	committed, held := j.cursor.Committed(), j.cursor.Entries()
	var err error
	if len(held) > 0 {
		j.state, err = replay(committed, held)
		return err
	}
	appended, pending, err := account(log, log.Reader(buffer.Filter{}), committed)
	if err != nil {
		return err
	}
	before := buffer.Totals{Records: appended.Records - pending.Records, Bytes: appended.Bytes - pending.Bytes}
	j.state = &state{start: committed, committed: committed, before: before, nextBatch: 1}
	return j.cursor.Write(hydrant.PointSnapshot, committed, j.state.snapshot(), func() []buffer.Entry { return nil })
}
