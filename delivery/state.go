package delivery

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// state is what a journal says: the fold over its entries. It is a plain value for one goroutine at a time.
type state struct {
	start     hydrant.Position
	before    buffer.Totals
	nextBatch uint64
	sums      Ledger           // of every Done
	folded    Ledger           // of the Dones whose batches are no longer in open
	committed hydrant.Position // end of the unbroken row of Dones (I12)
	open      []*entries       // batches at or behind committed, by position
}

// entries are those of one batch.
type entries struct {
	ready   ready
	saves   []save
	outcome *outcome
	done    *done
}

// replay folds what a journal holds. committed is the cursor's: entries tell which batches are done, not how far the
// unbroken row went before the snapshot.
func replay(committed hydrant.Position, log []buffer.Entry) (*state, error) {
	s := &state{nextBatch: 1}
	for i, e := range log {
		v, err := decodeEntry(e)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if v == nil {
			continue
		}
		if _, isSnapshot := v.(snapshot); isSnapshot != (i == 0) {
			return nil, fmt.Errorf("entry %d: a snapshot comes first, and only there", i)
		}
		if err := s.apply(v); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	for len(s.open) > 0 && s.open[0].ready.span.From < committed {
		b := s.open[0]
		if b.done == nil || b.ready.span.To > committed {
			return nil, fmt.Errorf("batch %d covers %s and is not done, but the cursor stands at %d", b.ready.batch, b.ready.span, committed)
		}
		s.fold()
	}
	if committed < s.start {
		return nil, fmt.Errorf("the cursor stands at %d, before its start at %d", committed, s.start)
	}
	s.committed = committed
	s.advance()
	return s, nil
}

// apply folds one entry in.
func (s *state) apply(v any) error {
	switch v := v.(type) {
	case snapshot:
		s.start, s.before, s.nextBatch, s.sums, s.folded = v.start, v.before, max(1, v.nextBatch), v.sums, v.sums
	case ready:
		return s.applyReady(v)
	case save:
		b, err := s.find(v.batch)
		if err != nil {
			return err
		}
		b.saves = slices.DeleteFunc(b.saves, func(old save) bool { return old.to == v.to })
		b.saves = append(b.saves, v)
	case outcome:
		b, err := s.find(v.batch)
		if err != nil {
			return err
		}
		if b.outcome != nil {
			return fmt.Errorf("batch %d has two outcomes", v.batch)
		}
		b.outcome = &v
	case done:
		b, err := s.find(v.batch)
		if err != nil {
			return err
		}
		b.done = &v
		s.sums.add(v.sums)
	}
	return nil
}

func (s *state) applyReady(v ready) error {
	at, _ := slices.BinarySearchFunc(s.open, v.span.From, func(b *entries, p hydrant.Position) int {
		return cmp.Compare(b.ready.span.From, p)
	})
	from := max(s.start, s.committed)
	if at > 0 {
		from = s.open[at-1].ready.span.To
	}
	if v.span.From < from || v.span.To <= v.span.From || at < len(s.open) && v.span.To > s.open[at].ready.span.From {
		return fmt.Errorf("batch %d covers %s, which is not free", v.batch, v.span)
	}
	s.open = slices.Insert(s.open, at, &entries{ready: v})
	s.nextBatch = max(s.nextBatch, v.batch+1)
	return nil
}

// find returns a batch that is not done.
func (s *state) find(batch uint64) (*entries, error) {
	for _, b := range s.open {
		if b.ready.batch == batch && b.done == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("batch %d is not under way", batch)
}

// advance moves committed over the unbroken row of Dones and forgets their batches.
func (s *state) advance() {
	for len(s.open) > 0 && s.open[0].done != nil && s.open[0].ready.span.From == s.committed {
		s.committed = s.open[0].ready.span.To
		s.fold()
	}
}

func (s *state) fold() {
	s.folded.add(s.open[0].done.sums)
	s.open = s.open[1:]
}

// with tells where committed will be once a frame is applied.
func (s *state) with(frame []any) hydrant.Position {
	committed := s.committed
	for _, b := range s.open {
		settled := b.done != nil || slices.ContainsFunc(frame, func(v any) bool {
			d, ok := v.(done)
			return ok && d.batch == b.ready.batch
		})
		if !settled || b.ready.span.From != committed {
			break
		}
		committed = b.ready.span.To
	}
	return committed
}

// snapshot is the state as entries.
func (s *state) snapshot() []buffer.Entry {
	all := []buffer.Entry{snapshot{s.start, s.before, s.nextBatch, s.folded}.entry()}
	for _, b := range s.open {
		all = append(all, b.ready.entry())
		for _, v := range b.saves {
			all = append(all, v.entry())
		}
		if b.outcome != nil {
			all = append(all, b.outcome.entry())
		}
		if b.done != nil {
			all = append(all, b.done.entry())
		}
	}
	return all
}
