package buffer

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/hydrantd/hydrant"
)

// Salvage writes out every record under dir (as for Dump) that still verifies, each position once, whatever else is
// damaged, the headers of segments included; then what is known to be lost. FORMAT.md has the lines.
func Salvage(fsys hydrant.FS, dir string, out io.Writer) (Report, error) {
	places, err := findLogs(fsys, dir)
	if err != nil {
		return Report{}, err
	}
	s := salvager{dumper: dumper{fsys: fsys, out: bufio.NewWriter(out)}}
	for _, p := range places {
		if err := s.place(p); err != nil {
			return s.Report, errors.Join(fmt.Errorf("%s: %w", p, err), s.out.Flush())
		}
	}
	return s.Report, s.out.Flush()
}

type salvager struct {
	dumper
	Report
}

// salvaged is what the first pass learned of a segment. Memory grows with the damage only.
type salvaged struct {
	*segmentFile
	readable bool    // its salt is known
	good     spanSet // positions that verify
	end      hydrant.Position
}

func (s *salvager) place(p logPlace) error {
	if p.stream != "" {
		if err := s.put(s.start().begin().word("stream", p.stream).end()); err != nil {
			return err
		}
	}
	found, err := listSegments(s.fsys, p.dir)
	if err != nil {
		return err
	}
	segs := make([]*salvaged, len(found))
	for i, f := range found {
		segs[i] = &salvaged{segmentFile: f, readable: true}
		if f.bad != nil {
			if segs[i].readable, err = recoverHeader(s.fsys, f); err != nil {
				return err
			}
			if segs[0].bad == nil {
				f.header.log = segs[0].header.log // those with a header come first
			}
		}
		if err := s.survey(segs[i]); err != nil {
			return err
		}
	}
	// A segment without its header has no opening number; but bases do not fall from one opening to the next.
	slices.SortStableFunc(segs, func(a, b *salvaged) int { return cmp.Compare(a.header.base, b.header.base) })
	var all spanSet
	end := hydrant.Position(0)
	for i, seg := range segs {
		if err := s.segment(seg, segs[i+1:]); err != nil {
			return fmt.Errorf("%s: %w", seg.name, err)
		}
		for _, span := range seg.good {
			all.add(span)
		}
		end = max(end, seg.end)
	}
	if len(segs) == 0 {
		return nil
	}
	for _, lost := range all.missing(hydrant.Span{From: segs[0].header.base, To: end}) {
		s.Lost += lost.Len()
		if err := s.put(s.start().begin().word("lost", lost.String()).number("records", lost.Len()).end()); err != nil {
			return err
		}
	}
	return nil
}

// survey finds the positions of a segment that verify.
func (s *salvager) survey(seg *salvaged) error {
	if !seg.readable {
		return nil
	}
	w, err := openWalk(s.fsys, seg.segmentFile)
	if err != nil {
		return err
	}
	defer w.f.Close()
	seg.end = seg.header.base
	_, err = w.each(func(at int64, h *head) error {
		seg.end = max(seg.end, h.next())
		return w.parts(at, h,
			func(Note) error { return nil },
			func(r *hydrant.Record) error { seg.good.add(hydrant.Span{From: r.Pos, To: r.Pos + 1}); return nil },
			func(*shardRun, error) error { return nil })
	}, func(int64, int64, *head) error { return nil })
	return err
}

// segment writes out the records of a segment, but for those that the ones behind it have too.
func (s *salvager) segment(seg *salvaged, later []*salvaged) error {
	s.Segments++
	if seg.bad != nil {
		s.Damaged++
		l := s.start().begin().number("damage", 0).word("part", "header").word("file", seg.name)
		if !seg.readable {
			l = l.number("bytes", seg.size)
		}
		if err := s.put(l.end()); err != nil || !seg.readable {
			return err
		}
	}
	w, err := openWalk(s.fsys, seg.segmentFile)
	if err != nil {
		return err
	}
	defer w.f.Close()
	if err := s.put(s.start().segment(seg.segmentFile)); err != nil {
		return err
	}
	end, err := w.each(
		func(at int64, h *head) error {
			s.Blocks++
			return w.parts(at, h,
				func(Note) error { return nil },
				func(r *hydrant.Record) error {
					if supersededBy(later, r.Pos) {
						return nil
					}
					s.Records.Add(Totals{1, int64(len(r.Data))})
					return s.put(s.start().record(r))
				},
				func(r *shardRun, _ error) error { s.Damaged++; return s.damagedPart(at, h, r) })
		},
		func(at, to int64, _ *head) error { s.Damaged++; return s.damagedHead(at, to) })
	if err != nil || end >= w.size || !w.unfinished(end) {
		return err
	}
	s.Damaged++
	return s.put(s.start().begin().number("damage", end).word("part", "end").end())
}

// supersededBy tells whether a record is in a later segment too, or was dropped at the opening that made that segment.
func supersededBy(later []*salvaged, pos hydrant.Position) bool {
	dropped := false
	for _, seg := range later {
		if !seg.readable || pos < seg.header.base {
			continue
		}
		if seg.good.has(pos) {
			return true
		}
		dropped = dropped || pos >= seg.end
	}
	return dropped && !slices.ContainsFunc(later, func(seg *salvaged) bool {
		return seg.readable && seg.header.base <= pos && pos < seg.end
	})
}

// recoverHeader finds out what it can of a segment without a valid header: the salt, or one just as good, from its blocks, and
// the rest from its name and the first block. False: there is no salt to be had.
func recoverHeader(fsys hydrant.FS, s *segmentFile) (bool, error) {
	w, err := openWalk(fsys, s)
	if err != nil {
		return false, err
	}
	defer w.f.Close()
	named := s.readName()
	votes := map[uint32]int{}
	best, most := uint32(0), 0
	for at := int64(fileHeaderLen); at+headLen <= w.size; {
		state, length, ok := w.saltState(at)
		if !ok {
			at += blockAlign
			continue
		}
		// A record may hold a copy of another segment's block: the salt of the most blocks is the segment's own.
		if votes[state]++; votes[state] > most {
			best, most = state, votes[state]
		}
		at += length
	}
	if most == 0 {
		return false, nil
	}
	s.header.salt = saltFor(best)
	w.salt = s.header.salt
	stop := errors.New("")
	_, err = w.each(func(_ int64, h *head) error {
		s.header.created = h.time
		if !named {
			s.header.base, s.header.run = h.base, h.run
		}
		return stop
	}, func(int64, int64, *head) error { return nil })
	if errors.Is(err, stop) {
		return true, nil
	}
	return false, err
}

// readName takes base and run from the name of a segment.
func (s *segmentFile) readName() bool {
	var base uint64
	var run []byte
	if n, _ := fmt.Sscanf(s.name, "%020d-%8x.seg", &base, &run); n < 2 || len(run) != len(s.header.run) {
		return false
	}
	s.header.base, s.header.run = hydrant.Position(base), hydrant.RunID(run)
	return true
}

// saltState finds out what the salt's checksum must be for the block at an offset to be valid: the head crc gives it, the
// notes crc confirms it.
func (w *walk) saltState(at int64) (state uint32, length int64, ok bool) {
	b, err := w.readRaw(at)
	if err != nil {
		return 0, 0, false
	}
	h, err := readHead(b)
	if err != nil || at+int64(h.length) > w.size {
		return 0, 0, false
	}
	state = unwind(h.crc, b[8:])
	notes, err := w.read(at+int64(h.notesAt()), int64(h.notesLen))
	if err != nil || crc32.Update(state, castagnoli, notes) != h.notesCRC {
		return 0, 0, false
	}
	return state, int64(h.length), true
}

// unwind is the checksum from which b leads to crc: crc32.Update(unwind(crc, b), castagnoli, b) == crc.
func unwind(crc uint32, b []byte) uint32 {
	var at [256]byte // the index in the table by the highest byte of the entry
	for i, v := range castagnoli {
		at[v>>24] = byte(i)
	}
	crc = ^crc
	for i := len(b) - 1; i >= 0; i-- {
		index := at[crc>>24]
		crc = (crc^castagnoli[index])<<8 | uint32(index^b[i])
	}
	return ^crc
}

// saltFor makes a salt with a given checksum: it verifies what the real one verifies.
func saltFor(state uint32) (salt [16]byte) {
	front := crc32.Checksum(salt[:12], castagnoli)
	back := unwind(state, salt[12:])
	binary.LittleEndian.PutUint32(salt[12:], front^back)
	return salt
}

// spanSet is a set of positions: spans in order that do not touch.
type spanSet []hydrant.Span

// find returns the index of the first span that ends at or behind pos.
func (s spanSet) find(pos hydrant.Position) int {
	i, _ := slices.BinarySearchFunc(s, pos, func(span hydrant.Span, pos hydrant.Position) int { return cmp.Compare(span.To, pos) })
	return i
}

func (s spanSet) has(pos hydrant.Position) bool {
	i := s.find(pos + 1)
	return i < len(s) && s[i].From <= pos
}

func (s *spanSet) add(span hydrant.Span) {
	from := s.find(span.From)
	to := from
	for to < len(*s) && (*s)[to].From <= span.To {
		span = hydrant.Span{From: min(span.From, (*s)[to].From), To: max(span.To, (*s)[to].To)}
		to++
	}
	*s = slices.Replace(*s, from, to, span)
}

// missing are the parts of span that are not in s.
func (s spanSet) missing(span hydrant.Span) []hydrant.Span {
	var gaps []hydrant.Span
	at := span.From
	for _, has := range append(slices.Clip(s), hydrant.Span{From: math.MaxUint64, To: math.MaxUint64}) {
		if to := min(has.From, span.To); to > at {
			gaps = append(gaps, hydrant.Span{From: at, To: to})
		}
		at = max(at, has.To)
	}
	return gaps
}
