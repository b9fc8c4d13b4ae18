package buffer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hydrantd/hydrant"
)

// walk steps over the heads of the last segment, from its checkpoint on: what they add to the fold, what is damaged,
// and where the log ends. When the checkpoint cannot be read it begins with that of an earlier segment.
func (r *recovery) walk() error {
	if len(r.chain) == 0 {
		return nil
	}
	if err := r.rename(); err != nil {
		return err
	}
	from := len(r.chain) - 1
	for ; from > 0; from-- {
		ok, err := r.checkpoint(r.chain[from])
		if err != nil {
			return err
		}
		if ok {
			break
		}
	}
	// Positions are dense: the number of records is known even when no checkpoint can be read.
	r.d.fold.appended.Records = int64(r.chain[from].base) - 1
	for _, s := range r.chain[from:] {
		if err := r.segment(s); err != nil {
			return err
		}
	}
	return nil
}

// rename gives segments the names that their headers say: a file that was renamed is as good as before.
func (r *recovery) rename() error {
	d := r.d
	for _, s := range r.chain {
		if name := r.names[s]; name != s.name() {
			if err := d.o.FS.Rename(filepath.Join(d.logDir(), name), filepath.Join(d.logDir(), s.name())); err != nil {
				return err
			}
			r.Renamed = append(r.Renamed, s.name())
		}
	}
	if len(r.Renamed) == 0 {
		return nil
	}
	return hydrant.SyncDir(d.o.FS, d.logDir(), hydrant.PointSegmentDir)
}

// checkpoint tells whether the first block of s can be read.
func (r *recovery) checkpoint(s *segment) (bool, error) {
	f, err := r.d.files.get(s)
	if err != nil {
		return false, err
	}
	sc := scan{f: f, win: &window{}, limit: s.limit, at: fileHeaderLen, pos: s.base}
	h, err := sc.head()
	if err == nil {
		_, err = sc.notes(&h)
	}
	ok := err == nil && h.kind == kindCheckpoint
	if errors.Is(err, errNoBlock) {
		err = nil
	}
	return ok, errors.Join(err, r.d.files.put(f))
}

// segment walks one segment. Of the last one the last block is kept back, to be proved.
func (r *recovery) segment(s *segment) error {
	f, err := r.d.files.get(s)
	if err != nil {
		return err
	}
	sc := &scan{f: f, win: &window{}, limit: s.limit, at: fileHeaderLen, pos: s.base}
	return errors.Join(r.blocks(sc, s.next), r.d.files.put(f))
}

// blocks walks up to position next; 0: to the end of the log.
func (r *recovery) blocks(sc *scan, next hydrant.Position) error {
	var last *lastBlock
	r.tail.seq, r.tail.prev = 0, 0
	for {
		h, err := sc.head()
		if errors.Is(err, ErrNewerFormat) {
			return fmt.Errorf("%s+%d: %w", sc.f.seg.name(), sc.at, err)
		}
		if err != nil && !errors.Is(err, errNoBlock) {
			return err
		}
		if err != nil || next > 0 && sc.pos >= next {
			done, rerr := r.bad(sc, next, &last, err)
			if rerr != nil || done {
				return rerr
			}
			continue
		}
		if last != nil {
			if err := r.keep(sc, last); err != nil {
				return err
			}
		}
		if h.base > sc.pos {
			r.lose(sc.f.seg, -1, hydrant.Span{From: sc.pos, To: h.base}, 0, "a block is missing")
		}
		last = &lastBlock{at: sc.at, head: h}
		r.tail.seq, r.tail.prev = h.seq+1, h.crc
		sc.skip(&h)
	}
}

// bad is where no valid block follows: damage, when there is something valid behind it, and else the end.
func (r *recovery) bad(sc *scan, next hydrant.Position, last **lastBlock, cause error) (done bool, err error) {
	at, pos := sc.at, sc.pos
	if next == 0 || pos < next {
		ok, err := sc.resync()
		if err != nil {
			return true, err
		}
		if ok {
			h, err := sc.head()
			if err != nil {
				return true, err
			}
			if *last != nil { // what follows proves it; a checkpoint sets the sums, to which the loss is added
				if err := r.keep(sc, *last); err != nil {
					return true, err
				}
				*last = nil
			}
			r.lose(sc.f.seg, at, hydrant.Span{From: pos, To: h.base}, 0, cause.Error())
			r.quarantine(sc, at, sc.at)
			sc.pos = h.base
			return false, nil
		}
	}
	if next > 0 {
		if *last != nil {
			err = r.keep(sc, *last)
		}
		if pos < next {
			r.lose(sc.f.seg, at, hydrant.Span{From: pos, To: next}, 0, cause.Error())
			r.quarantine(sc, at, sc.limit)
		}
		return true, err
	}
	return true, r.finish(sc, *last, at)
}

// keep folds a block that its successor proves. Its records are not looked at: readers verify them.
func (r *recovery) keep(sc *scan, b *lastBlock) error {
	d := r.d
	s := *sc
	s.at = b.at
	notes, err := s.notes(&b.head)
	if err != nil && !errors.Is(err, errNoBlock) {
		return err
	}
	if err != nil {
		d.o.Logger.Error("notes of a block are damaged: source positions may be older than their records", "span", hydrant.Span{From: b.head.base, To: b.head.next()}.String(), "err", err)
	}
	d.fold.appended.Add(Totals{int64(b.head.count), b.head.bytes()})
	if err := d.fold.apply(notes); err != nil {
		return fmt.Errorf("%s+%d: %w", sc.f.seg.name(), b.at, err)
	}
	r.end = b.head.next()
	d.lastTime = max(d.lastTime, b.head.time)
	return nil
}

// finish looks at the last block of the log and at what lies behind it.
func (r *recovery) finish(sc *scan, last *lastBlock, at int64) error {
	d, seg := r.d, sc.f.seg
	r.tail.at = at
	r.end = max(r.end, seg.base)
	begun, err := written(sc, at)
	if err != nil {
		return err
	}
	if begun {
		r.Torn = &Torn{Segment: seg.name(), Offset: at, Records: -1}
	}
	if last == nil {
		return nil
	}
	if last.head.kind == kindCheckpoint || last.head.empty() {
		// The first was durable before the segment got its name; the other says nothing but that the one before was.
		return r.keep(sc, last)
	}
	sc.at = last.at
	err = r.load(sc, last)
	switch {
	case err == nil && !hydrant.Sabotaged(hydrant.RuleProveLastBlock) && !hydrant.Sabotaged(hydrant.RuleOwnSegments):
		r.last = last
		d.lastTime = max(d.lastTime, last.head.time)
		return nil
	case err == nil:
		return r.keep(sc, last)
	case !errors.Is(err, errNoBlock):
		return err
	case begun || r.reach() > last.head.base:
		// Writing a block begins after the one before is synced, and nobody reads one that is not: so this one was there,
		// and is damaged.
		for _, s := range last.bad {
			from := last.head.base + hydrant.Position(s.first)
			r.lose(seg, last.at, hydrant.Span{From: from, To: from + hydrant.Position(s.count)}, s.bytes(), err.Error())
			d.fold.appended.Add(Totals{-int64(s.count), -s.bytes()}) // keep counts it too
		}
		r.quarantine(sc, last.at, last.at+int64(last.head.length))
		return r.keep(sc, last)
	case hydrant.Sabotaged(hydrant.RuleDropTornTail):
		r.last = last
		return nil
	}
	r.Torn = &Torn{Segment: seg.name(), Offset: last.at, Records: int64(last.head.count)}
	r.tail.at, r.tail.seq, r.tail.prev = last.at, last.head.seq, last.head.prev
	return nil
}

// load reads the block under sc wholly, and verifies all of it.
func (r *recovery) load(sc *scan, b *lastBlock) error {
	notes, bad := sc.notes(&b.head)
	if bad != nil && !errors.Is(bad, errNoBlock) {
		return bad
	}
	b.notes = notes
	table, err := blockAttrs(notes)
	if err != nil && bad == nil {
		bad = fmt.Errorf("%w: %w", errNoBlock, err)
	}
	for i := range b.head.runs {
		s := &b.head.runs[i]
		room := b.batch.Room(s.stored())
		if err := sc.stored(&b.head, s, room); err != nil {
			if !errors.Is(err, errNoBlock) {
				return err
			}
			bad = errors.Join(bad, err)
			b.bad = append(b.bad, s)
			continue
		}
		err := b.head.decodeRun(s, room, table, func(rec hydrant.Record) bool {
			b.batch.View(rec)
			return true
		})
		if err != nil {
			bad = errors.Join(bad, err)
			b.bad = append(b.bad, s)
		}
	}
	return bad
}

// written tells whether anything was written from at on: allocated bytes read as zero.
func written(sc *scan, at int64) (bool, error) {
	buf := make([]byte, windowLen)
	for ; at < sc.limit; at += int64(len(buf)) {
		buf = buf[:min(windowLen, sc.limit-at)]
		if err := readFull(sc.f, buf, at); err != nil {
			return false, err
		}
		for _, c := range buf {
			if c != 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// lose counts a span that cannot be had any more.
func (r *recovery) lose(s *segment, at int64, lost hydrant.Span, bytes int64, why string) {
	t := Totals{lost.Len(), bytes}
	r.d.fold.appended.Add(t)
	r.d.fold.damaged.Add(t)
	c := Corrupt{Segment: s.name(), Offset: at, Lost: lost, Records: lost.Len(), Why: why}
	r.Damaged = append(r.Damaged, c)
	r.end = max(r.end, lost.To)
	r.d.o.Logger.Error("log damaged", "span", lost.String(), "err", &c)
}

// saveTail copies what is behind the last valid block, before it is left behind.
func (r *recovery) saveTail() error {
	t := cmp.Or(r.Torn, r.cut)
	if t == nil {
		return nil
	}
	if r.Torn != nil {
		r.d.o.Logger.Warn("unfinished block at the end of the log dropped, nobody was told that it was there", "err", t)
	}
	s := r.chain[len(r.chain)-1]
	f, err := r.d.files.get(s)
	if err != nil {
		return err
	}
	r.quarantine(&scan{f: f, win: &window{}, limit: s.limit}, t.Offset, min(s.limit, t.Offset+MaxBlock))
	return r.d.files.put(f)
}

func (r *recovery) quarantine(sc *scan, from, to int64) {
	if path := r.d.quarantine(sc.f, from, to); path != "" {
		r.Quarantined = append(r.Quarantined, path)
	}
}

// mostKept is how many damaged places of one segment are copied, so that a dying disk is not copied whole.
const mostKept = 64

// quarantine copies damaged bytes of a segment, once, and returns the path of the copy. It is a kindness to whoever looks
// into it, not part of the promise: a failure is only told.
func (d *Disk) quarantine(f *file, from, to int64) string {
	d.mu.Lock()
	seen := slices.Contains(f.seg.kept, from) || len(f.seg.kept) >= mostKept
	if !seen {
		f.seg.kept = append(f.seg.kept, from)
	}
	d.mu.Unlock()
	if seen {
		return ""
	}
	path := filepath.Join(d.quarantineDir(), fmt.Sprintf("%s+%d", f.seg.name(), from))
	if err := copyRange(d.o.FS, f, path, from, to); err != nil {
		d.warn("damaged bytes not kept", err)
		return ""
	}
	return path
}

// copyRange writes bytes of a file into a new one, without the zeros at their end.
func copyRange(fsys hydrant.FS, from hydrant.File, path string, at, end int64) error {
	f, err := fsys.Open(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	buf := make([]byte, windowLen)
	for start := at; at < end && err == nil; at += int64(len(buf)) {
		buf = buf[:min(windowLen, end-at)]
		if err = readFull(from, buf, at); err != nil {
			break
		}
		if kept := bytes.TrimRight(buf, "\x00"); len(kept) > 0 {
			_, err = f.WriteAt(kept, at-start)
		}
	}
	if err == nil {
		err = f.Sync(hydrant.PointQuarantine)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return hydrant.SyncDir(fsys, filepath.Dir(path), hydrant.PointQuarantine)
}
