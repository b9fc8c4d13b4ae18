package buffer

import (
	"errors"

	"github.com/hydrantd/hydrant"
)

// Count implements Reader. For all shards it reads one checkpoint and the heads of one segment at the most; for one shard, every
// head from there on.
func (r *reader) Count(from hydrant.Position) (Totals, error) {
	if r.f.One {
		return r.countShard(from)
	}
	r.d.mu.Lock()
	end, all := r.d.end, r.d.fold.appended
	r.d.mu.Unlock()
	if from >= end {
		return Totals{}, nil
	}
	// Positions are dense: the records need no counting. Bytes of what is lost are not known, and count as 0.
	t := Totals{Records: int64(end - from)}
	before, err := r.bytesBefore(from)
	t.Bytes = max(0, all.Bytes-before)
	return t, err
}

// bytesBefore is the data that the log has taken before pos, in bytes.
func (r *reader) bytesBefore(pos hydrant.Position) (int64, error) {
	b, err := r.find(pos)
	if err != nil || b == nil {
		return 0, err
	}
	if b.lost != nil && b.f == nil {
		return r.bytesBefore(b.lost.Lost.To)
	}
	n, err := r.bytesInside(b, pos)
	return n, errors.Join(err, r.done(b))
}

func (r *reader) bytesInside(b *found, pos hydrant.Position) (int64, error) {
	sums, err := r.sums(b.f)
	if err != nil {
		return 0, err
	}
	n := sums.Bytes + b.bytes
	if b.lost != nil || b.block.base == pos {
		return n, nil
	}
	for i := range b.block.runs {
		s := &b.block.runs[i]
		first := b.block.base + hydrant.Position(s.first)
		switch {
		case first >= pos:
		case first+hydrant.Position(s.count) <= pos:
			n += s.bytes()
		default:
			part, err := r.part(b, s, uint32(pos-first))
			if err != nil && !errors.Is(err, errNoBlock) {
				return 0, err
			}
			n += part
		}
	}
	return n, nil
}

// part is the data of the first count records of a run.
func (r *reader) part(b *found, s *shardRun, count uint32) (int64, error) {
	buf := make([]byte, s.stored())
	if err := b.stored(&b.block, s, buf); err != nil {
		return 0, err
	}
	var n int64
	err := cutRun(s, buf, func(i uint32, length int) bool {
		if i < count {
			n += int64(length)
		}
		return i < count
	})
	return n, err
}

// sums is what the log had appended before a segment, from its checkpoint. When that is damaged the bytes are not known: 0.
func (r *reader) sums(f *file) (Totals, error) {
	f.mu.Lock()
	known := f.sums
	f.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	r.d.mu.Lock()
	limit := f.seg.limit
	r.d.mu.Unlock()
	s := scan{f: f, win: &r.win, limit: limit, at: fileHeaderLen, pos: f.seg.base, raw: r.raw}
	t := Totals{Records: int64(f.seg.base) - 1}
	h, err := s.head()
	var notes []Note
	if err == nil {
		notes, err = s.notes(&h)
	}
	if err != nil && !errors.Is(err, errNoBlock) && !errors.Is(err, ErrNewerFormat) {
		return t, err
	}
	for _, n := range notes {
		if n.Type == NoteSums {
			if sums, err := ParseLedgerSums(n.Body); err == nil {
				t = sums.Appended
			}
		}
	}
	f.mu.Lock()
	f.sums = &t
	f.mu.Unlock()
	return t, nil
}

// countShard adds up the runs of one shard from a position on.
func (r *reader) countShard(from hydrant.Position) (Totals, error) {
	var t Totals
	for pos := from; ; {
		b, err := r.find(pos)
		if err != nil || b == nil {
			return t, err
		}
		if b.lost != nil {
			pos = b.lost.Lost.To
		} else if pos, err = r.countRun(b, pos, &t); err != nil {
			return t, errors.Join(err, r.done(b))
		}
		if err := r.done(b); err != nil {
			return t, err
		}
	}
}

// countRun adds what the block has of the shard from pos on, and returns where the next block begins.
func (r *reader) countRun(b *found, pos hydrant.Position, t *Totals) (hydrant.Position, error) {
	for i := range b.block.runs {
		s := &b.block.runs[i]
		first := b.block.base + hydrant.Position(s.first)
		if s.shard != r.f.Shard || first+hydrant.Position(s.count) <= pos {
			continue
		}
		t.Add(Totals{int64(s.count), s.bytes()})
		if first < pos {
			before := uint32(pos - first)
			n, err := r.part(b, s, before)
			if err != nil && !errors.Is(err, errNoBlock) {
				return pos, err
			}
			t.Add(Totals{-int64(before), -n})
		}
	}
	end := min(b.block.next(), b.next)
	b.skip(&b.block)
	r.last.seg, r.last.at, r.last.pos, r.last.bytes = b.f.seg, b.at, b.pos, b.bytes
	return end, nil
}
