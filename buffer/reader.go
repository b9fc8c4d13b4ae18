package buffer

import (
	"context"
	"errors"
	"io/fs"
	"sort"
	"time"

	"github.com/hydrantd/hydrant"
)

// reader implements Reader. Between two calls it holds its buffer and where it was, no file; and a run of which only some
// records were read.
type reader struct {
	d    *Disk
	f    Filter
	win  window
	raw  []byte
	kept keptRun
	last struct { // behind the block that was read last
		seg   *segment
		at    int64
		pos   hydrant.Position
		bytes int64
	}
}

// keptRun is a run with more records than one Read takes: verified once, decoded step by step.
type keptRun struct {
	seg   *segment
	at    int64 // of its block
	shard uint32
	buf   []byte
	rest  *decoder
}

// of tells whether it is run s of the block under b.
func (k *keptRun) of(b *found, s *shardRun) bool {
	return k.seg != nil && k.seg == b.f.seg && k.at == b.at && k.shard == s.shard
}

// Reader implements Log.
func (d *Disk) Reader(f Filter) Reader { return &reader{d: d, f: f} }

// place is a segment as it stood at one moment: what may be read of it.
type place struct {
	seg   *segment
	next  hydrant.Position // behind what it holds
	limit int64
	gap   hydrant.Position // where the next segment begins, when that is not next
}

// locate finds the segment for pos. seg is nil when nothing durable lies at or behind pos.
func (d *Disk) locate(pos hydrant.Position) (place, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if pos >= d.end {
		return place{}, nil
	}
	if pos < d.segs[0].base {
		return place{}, ErrLapsed
	}
	i := sort.Search(len(d.segs), func(i int) bool { return d.segs[i].base > pos }) - 1
	s := d.segs[i]
	p := place{seg: s, next: s.next, limit: s.limit, gap: s.next}
	if i+1 < len(d.segs) {
		p.gap = d.segs[i+1].base
	}
	return p, nil
}

// found is the block that holds a position, or what is known to be lost from there on.
type found struct {
	scan
	block head
	next  hydrant.Position // positions of the block behind this one lie in the next segment
	lost  *Corrupt
}

// find opens the block that holds pos. Nil: nothing durable lies there. The caller puts found.f back, unless that is nil.
func (r *reader) find(pos hydrant.Position) (*found, error) {
	p, err := r.d.locate(pos)
	if err != nil || p.seg == nil {
		return nil, err
	}
	if pos >= p.next {
		return &found{lost: r.missing(p, pos, p.gap, "the segment behind begins later")}, nil
	}
	f, err := r.d.files.get(p.seg)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := r.d.locate(pos); err != nil {
			return nil, err // it was freed in this moment
		}
		return &found{lost: r.missing(p, pos, p.next, "the file is missing")}, nil
	case err != nil:
		return nil, err
	}
	b := &found{next: p.next, scan: scan{f: f, win: &r.win, limit: p.limit, raw: r.raw}}
	if l := r.last; l.seg == p.seg && l.pos == pos {
		b.at, b.pos, b.bytes = l.at, l.pos, l.bytes
	} else {
		m := f.near(pos)
		b.at, b.pos, b.bytes = m.at, m.pos, m.bytes
	}
	err = r.walk(b, p, pos)
	r.raw = b.raw
	if err != nil {
		return nil, errors.Join(err, r.d.files.put(f))
	}
	return b, nil
}

// walk steps from b to the block that holds pos, or finds that it is lost.
func (r *reader) walk(b *found, p place, pos hydrant.Position) error {
	for {
		h, err := b.head()
		if err != nil {
			if !errors.Is(err, errNoBlock) && !errors.Is(err, ErrNewerFormat) {
				return err
			}
			bad := b.at
			ok, rerr := b.resync()
			if rerr != nil {
				return rerr
			}
			end := b.limit
			if ok {
				end = b.at
				if h, rerr = b.headAt(b.at); rerr != nil {
					return rerr
				}
			}
			r.d.quarantine(b.f, bad, end)
			to := p.next
			if ok {
				to = min(h.base, to)
			}
			if to > pos {
				b.lost = r.corrupt(p, bad, hydrant.Span{From: pos, To: to}, err.Error())
				return nil
			}
		}
		switch {
		case h.base > pos:
			b.lost = r.missing(p, pos, min(h.base, p.next), "a block is missing")
			return nil
		case h.next() > pos:
			b.block = h
			return nil
		}
		b.skip(&h)
	}
}

func (r *reader) missing(p place, from, to hydrant.Position, why string) *Corrupt {
	return r.corrupt(p, -1, hydrant.Span{From: from, To: to}, why)
}

// corrupt is damage whose shards are not known.
func (r *reader) corrupt(p place, at int64, lost hydrant.Span, why string) *Corrupt {
	c := &Corrupt{Segment: p.seg.name(), Offset: at, Lost: lost, Why: why}
	if !r.f.One {
		c.Records = lost.Len()
	}
	return c
}

// Read implements Reader.
func (r *reader) Read(from, limit hydrant.Position, into *hydrant.Batch) (hydrant.Position, error) {
	pos := from
	for !enough(into) && (limit == 0 || pos < limit) {
		b, err := r.find(pos)
		if err != nil && pos > from {
			return pos, nil // told by the next Read, if it is still so
		}
		if err != nil || b == nil {
			return pos, err
		}
		next, err := r.block(b, pos, limit, into)
		if b.f != nil {
			err = errors.Join(err, r.d.files.put(b.f))
		}
		if next == pos || err != nil {
			return next, err
		}
		pos = next
	}
	return pos, nil
}

// enough tells whether a Read is done.
func enough(into *hydrant.Batch) bool { return into.Bytes() >= Hint || into.Len() >= HintRecords }

// block reads records from pos on out of the block found. It returns pos and nil when the block is of another run than
// what is in into.
func (r *reader) block(b *found, pos, limit hydrant.Position, into *hydrant.Batch) (hydrant.Position, error) {
	if b.lost != nil {
		return clip(b.lost, limit)
	}
	h := &b.block
	if into.Len() == 0 {
		into.Log, into.Run = r.d.id, h.run
	} else if into.Run != h.run {
		return pos, nil
	}
	end := min(h.next(), b.next)
	if limit > 0 {
		end = min(end, limit)
	}
	var table attrTable
	var tableErr error
	asked := false
	for i := range h.runs {
		s := &h.runs[i]
		span := hydrant.Span{From: h.base + hydrant.Position(s.first)}
		span.To = span.From + hydrant.Position(s.count)
		if span.To <= pos || span.From >= end || r.f.One && s.shard != r.f.Shard {
			continue
		}
		if enough(into) {
			return max(pos, span.From), nil
		}
		if s.needsNotes() && !asked {
			table, tableErr = b.attrs(h, s)
			asked = true
		}
		err := error(nil)
		if s.needsNotes() {
			err = tableErr
		}
		if to := min(end, span.To); err == nil && s.count > HintRecords {
			var next hydrant.Position
			if next, err = r.some(b, s, table, max(pos, span.From), to, into); err == nil && next < to {
				return next, nil
			}
		} else if err == nil {
			err = r.records(b, s, table, max(pos, span.From), to, into)
		}
		if err != nil {
			if !errors.Is(err, errNoBlock) {
				return max(pos, span.From), err
			}
			r.d.quarantine(b.f, b.at, b.at+int64(h.length))
			lost := hydrant.Span{From: max(pos, span.From), To: min(end, span.To)}
			return lost.To, &Corrupt{b.f.seg.name(), b.at, lost, lost.Len(), err.Error()}
		}
	}
	if end == h.next() {
		b.skip(h)
		r.last.seg, r.last.at, r.last.pos, r.last.bytes = b.f.seg, b.at, b.pos, b.bytes
	}
	return end, nil
}

// records decodes those of a run from from up to to, straight into the batch.
func (r *reader) records(b *found, s *shardRun, table attrTable, from, to hydrant.Position, into *hydrant.Batch) error {
	room := into.Room(s.stored())
	if err := b.stored(&b.block, s, room); err != nil {
		return err
	}
	return b.block.decodeRun(s, room, table, func(rec hydrant.Record) bool {
		if rec.Pos >= from && rec.Pos < to {
			into.View(rec)
		}
		return rec.Pos+1 < to
	})
}

// some decodes records of a run from from up to to until the batch has enough, and returns the position behind the last one.
func (r *reader) some(b *found, s *shardRun, table attrTable, from, to hydrant.Position, into *hydrant.Batch) (hydrant.Position, error) {
	k := &r.kept
	if !k.of(b, s) {
		r.kept = keptRun{seg: b.f.seg, at: b.at, shard: s.shard, buf: make([]byte, s.stored())} // batches alias the one before
		if err := b.stored(&b.block, s, k.buf); err != nil {
			r.kept = keptRun{}
			return from, err
		}
	}
	if k.rest == nil || k.rest.next() > from {
		var err error
		if k.rest, err = b.block.decoder(s, k.buf, table); err != nil {
			r.kept = keptRun{}
			return from, err
		}
	}
	into.Lean(int64(len(k.buf)))
	err := k.rest.each(func(rec hydrant.Record) bool {
		if rec.Pos >= from {
			into.View(rec)
		}
		return rec.Pos+1 < to && (rec.Pos < from || !enough(into))
	})
	next := k.rest.next()
	if err != nil || next >= to {
		r.kept = keptRun{} // who waits for a sink now holds no memory (I14)
	}
	return next, err
}

// clip ends what is lost at limit: what is behind that is another batch's.
func clip(c *Corrupt, limit hydrant.Position) (hydrant.Position, error) {
	if limit > 0 && c.Lost.To > limit {
		c.Lost.To = limit
		c.Records = min(c.Records, c.Lost.Len())
	}
	return c.Lost.To, c
}

// Measure implements Reader. Damage ends a batch: one that begins with it is the damage alone.
func (r *reader) Measure(from hydrant.Position, size, perRecord int64) (Extent, error) {
	pos := from
	var run hydrant.RunID
	var arrival int64
	for left := size; ; {
		b, err := r.find(pos)
		if err != nil || b == nil {
			return Extent{To: pos, Left: left, Time: arrival}, err
		}
		if b.lost != nil {
			err := r.done(b)
			if pos == from {
				return Extent{To: b.lost.Lost.To, Whole: true}, err
			}
			return Extent{To: pos, Whole: true, Time: arrival}, err
		}
		if pos == from {
			run, arrival = b.block.run, b.block.time
		}
		if b.block.run != run {
			return Extent{To: pos, Whole: true, Time: arrival}, r.done(b)
		}
		e, err := r.measure(b, pos, perRecord, &left)
		e.Time = arrival
		if err = errors.Join(err, r.done(b)); err != nil || e.Whole {
			return e, err
		}
		pos = e.To
	}
}

// done gives back the file of a block.
func (r *reader) done(b *found) error {
	if b.f == nil {
		return nil
	}
	return r.d.files.put(b.f)
}

// measure takes the records of one block from left. Only the runs in which the batch begins or ends are read.
func (r *reader) measure(b *found, pos hydrant.Position, perRecord int64, left *int64) (Extent, error) {
	h := &b.block
	end := min(h.next(), b.next)
	for i := range h.runs {
		s := &h.runs[i]
		first := h.base + hydrant.Position(s.first)
		if first+hydrant.Position(s.count) <= pos || first >= end || r.f.One && s.shard != r.f.Shard {
			continue
		}
		whole := s.bytes() + perRecord*int64(s.count)
		if first >= pos && whole < *left {
			*left -= whole
			continue
		}
		at, err := r.cut(b, s, max(pos, first), perRecord, left)
		if errors.Is(err, errNoBlock) {
			// Damaged: Read will say so. The batch ends before it, or is as much of it as the run has.
			if max(pos, first) > pos {
				return Extent{To: first, Whole: true}, nil
			}
			return Extent{To: min(end, first+hydrant.Position(s.count)), Whole: true}, nil
		}
		if err != nil {
			return Extent{To: pos}, err
		}
		if at != 0 {
			return Extent{To: at, Whole: true}, nil
		}
	}
	if end == h.next() {
		b.skip(h)
		r.last.seg, r.last.at, r.last.pos, r.last.bytes = b.f.seg, b.at, b.pos, b.bytes
	}
	return Extent{To: end}, nil
}

// cut finds the record of a run with which left is used up, from pos on, and returns the position behind it; 0 when there
// is none.
func (r *reader) cut(b *found, s *shardRun, pos hydrant.Position, perRecord int64, left *int64) (hydrant.Position, error) {
	buf := r.kept.buf
	if !r.kept.of(b, s) {
		buf = make([]byte, s.stored())
		if err := b.stored(&b.block, s, buf); err != nil {
			return 0, err
		}
	}
	var to hydrant.Position
	first := b.block.base + hydrant.Position(s.first)
	err := cutRun(s, buf, func(i uint32, length int) bool {
		at := first + hydrant.Position(i)
		if at < pos {
			return true
		}
		if *left -= int64(length) + perRecord; *left <= 0 {
			to = at + 1
		}
		return to == 0
	})
	return to, err
}

// Wait implements Reader.
func (r *reader) Wait(ctx context.Context, from hydrant.Position, until time.Duration) error {
	for {
		heard := r.d.grown.Listen()
		r.d.mu.Lock()
		there := r.d.end > from
		r.d.mu.Unlock()
		if there {
			return nil
		}
		if err := r.d.o.Clock.Wait(ctx, until, heard); err != nil {
			return err
		}
	}
}
