package buffer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/hydrantd/hydrant"
)

// Report counts what Verify or Salvage found.
type Report struct {
	Segments, Blocks int
	Records          Totals // that verified
	Damaged          int    // places that did not
	Lost             int64  // records known to be lost with them
}

// Verify reads all that is in the logs and journals under dir (as for Dump), checks it, and writes to out a line for each
// place that is not as it should be and one for each log. An error: it could not be looked at.
func Verify(fsys hydrant.FS, dir string, out io.Writer) (Report, error) {
	places, err := findLogs(fsys, dir)
	if err != nil {
		return Report{}, err
	}
	var all Report
	w := bufio.NewWriter(out)
	for _, p := range places {
		v := verifier{fsys: fsys, out: w, place: p}
		err := v.run()
		all.Segments, all.Blocks = all.Segments+v.Segments, all.Blocks+v.Blocks
		all.Damaged, all.Lost = all.Damaged+v.Damaged, all.Lost+v.Lost
		all.Records.Add(v.Records)
		if err != nil {
			return all, errors.Join(fmt.Errorf("%s: %w", p, err), w.Flush())
		}
	}
	return all, w.Flush()
}

// verifier checks one log.
type verifier struct {
	Report
	fsys  hydrant.FS
	out   io.Writer
	place logPlace

	log   hydrant.LogID
	first hydrant.Position // of the log
	next  hydrant.Position // expected
	time  int64
	reach hydrant.Position // what the journals know to have been durable
	base  hydrant.Position // of the block looked at last
	held  []complaint      // about it: if it is the last of all, it was perhaps never finished
}

type complaint struct {
	text string
	lost int64
}

func (v *verifier) say(format string, args ...any) error {
	_, err := fmt.Fprintf(v.out, "%s: "+format+"\n", append([]any{v.place}, args...)...)
	return err
}

// complain reports damage.
func (v *verifier) complain(lost int64, format string, args ...any) error {
	v.Damaged++
	v.Lost += lost
	if lost > 0 {
		format += fmt.Sprintf("; %d records are lost", lost)
	}
	return v.say(format, args...)
}

// release reports what was held back: it was damage.
func (v *verifier) release() error {
	for _, c := range v.held {
		if err := v.complain(c.lost, "%s", c.text); err != nil {
			return err
		}
	}
	v.held = v.held[:0]
	return nil
}

func (v *verifier) run() error {
	segs, err := listSegments(v.fsys, v.place.dir)
	if err != nil {
		return err
	}
	v.Segments = len(segs)
	var sound []*segmentFile
	for _, s := range segs {
		switch {
		case s.bad != nil:
			err = v.complain(0, "%s: %v; `hydrant buffer salvage` may still get at its records", s.name, s.bad)
		case s.header.mended:
			err = v.complain(0, "%s: one bit of the header is flipped; nothing is lost by it", s.name)
		}
		if err != nil {
			return err
		}
		if s.bad == nil {
			sound = append(sound, s)
		}
	}
	if len(sound) > 0 {
		v.log, v.first, v.next = sound[0].header.log, sound[0].header.base, sound[0].header.base
	}
	if err := v.journals(func(_ string, j *journal, _ error) error { v.reach = max(v.reach, j.reach()); return nil }); err != nil {
		return err
	}
	for i, s := range sound {
		if err := v.segment(s, supersededFrom(sound[i+1:]), i == len(sound)-1); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := v.cursors(); err != nil {
		return err
	}
	verdict := "sound"
	if v.Damaged > 0 {
		verdict = fmt.Sprintf("%d places damaged, %d records lost", v.Damaged, v.Lost)
	}
	return v.say("%d segments, %d blocks, %d records of %d bytes at positions %d-%d: %s",
		v.Segments, v.Blocks, v.Records.Records, v.Records.Bytes, v.first, v.next, verdict)
}

// supersededFrom is the position from which the blocks of a segment do not count, because later ones begin there.
func supersededFrom(later []*segmentFile) hydrant.Position {
	from := ^hydrant.Position(0)
	for _, s := range later {
		from = min(from, s.header.base)
	}
	return from
}

func (v *verifier) segment(s *segmentFile, superseded hydrant.Position, last bool) error {
	if s.header.log != v.log {
		return v.complain(0, "%s: belongs to log %s, not to %s", s.name, s.header.log, v.log)
	}
	if err := v.release(); err != nil {
		return err
	}
	if lost := int64(s.header.base - v.next); s.header.base > v.next {
		if err := v.complain(lost, "%s: begins with position %d, %d was to come", s.name, s.header.base, v.next); err != nil {
			return err
		}
	}
	v.next = s.header.base
	w, err := openWalk(v.fsys, s)
	if err != nil {
		return err
	}
	defer w.f.Close()
	var before *head
	seq := uint32(0)
	end, err := w.each(func(at int64, h *head) error {
		defer func() { before, seq = h, h.seq+1 }()
		if h.kind == kindData && h.base >= superseded {
			return nil
		}
		if before != nil && h.seq == seq && h.prev != before.crc || h.kind == kindCheckpoint && h.seq != 0 {
			if err := v.complain(0, "%s+%d: does not follow on from the block before", s.name, at); err != nil {
				return err
			}
		}
		return v.block(w, s, at, h)
	}, func(at, to int64, after *head) error {
		if err := v.release(); err != nil {
			return err
		}
		lost := max(0, int64(after.base)-int64(v.next))
		v.next = max(v.next, after.base)
		return v.complain(lost, "%s+%d: no valid block in %d bytes", s.name, at, to-at)
	})
	if err != nil {
		return err
	}
	if !last {
		return nil
	}
	switch {
	case w.size <= end || !w.unfinished(end):
	case v.reach > v.next && v.reach <= v.next+mostRecords:
		err = v.complain(int64(v.reach-v.next), "%s+%d: the last block: its head does not verify", s.name, end)
		v.next = v.reach
	default:
		err = v.say("%s+%d: the end, a block that was never finished, or a damaged one; recovery drops it", s.name, end)
	}
	if v.reach > v.base {
		return errors.Join(err, v.release()) // it was durable
	}
	for _, c := range v.held {
		err = errors.Join(err, v.say("%s; it is the last block: never finished, or damaged; recovery drops it", c.text))
	}
	v.held = nil
	return err
}

func (v *verifier) block(w *walk, s *segmentFile, at int64, h *head) error {
	if err := v.release(); err != nil {
		return err
	}
	v.Blocks++
	switch {
	case h.base != v.next:
		if err := v.complain(max(0, int64(h.base)-int64(v.next)), "%s+%d: begins with position %d, %d was to come", s.name, at, h.base, v.next); err != nil {
			return err
		}
	case h.kind == kindData && h.time < v.time:
		if err := v.complain(0, "%s+%d: its time is before that of the block before", s.name, at); err != nil {
			return err
		}
	}
	v.base, v.next = h.base, h.next()
	if h.kind == kindData { // a checkpoint is as old as its segment, and a block that was copied behind it is older
		v.time = h.time
	}
	hold := func(lost int64, format string, args ...any) error {
		v.held = append(v.held, complaint{fmt.Sprintf(format, args...), lost})
		return nil
	}
	return w.parts(at, h,
		func(n Note) error {
			if err := n.Unknown(); err != nil {
				return err
			}
			if _, err := (line)(nil).noteFields(n); err != nil {
				return hold(0, "%s+%d: note of type %d: %v", s.name, at, n.Type, err)
			}
			return nil
		},
		func(r *hydrant.Record) error {
			v.Records.Add(Totals{1, int64(len(r.Data))})
			return nil
		},
		func(r *shardRun, why error) error {
			if r == nil {
				return hold(0, "%s+%d: notes: %v", s.name, at, why)
			}
			return hold(int64(r.count), "%s+%d: shard %d: %v", s.name, at+int64(r.offset), r.shard, why)
		})
}

// cursors complains about journals.
func (v *verifier) cursors() error {
	return v.journals(func(name string, j *journal, err error) error {
		var damaged *DamagedCursor
		switch {
		case errors.As(err, &damaged):
			return v.complain(0, "cursor %v", damaged)
		case err == nil && j.reach() > v.next:
			return v.complain(0, "cursor %s: %v: at position %d, the log ends at %d", name, ErrBehind, j.reach(), v.next)
		}
		return err
	})
}

// journals calls look with each journal, and with what reading it gave.
func (v *verifier) journals(look func(name string, j *journal, err error) error) error {
	if v.place.cursors == "" || v.next == 0 {
		return nil
	}
	names, _, err := cursorNames(v.fsys, v.place.cursors)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		j, err := readJournal(v.fsys, v.place.cursors, name, v.log)
		if err := look(name, &j, err); err != nil {
			return err
		}
	}
	return nil
}

// Streams are the streams/<name> that Verify finds under dir: none when it is a folder of segments.
func Streams(fsys hydrant.FS, dir string) ([]string, error) {
	places, err := findLogs(fsys, dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, p := range places {
		if p.cursors != "" {
			dirs = append(dirs, filepath.Dir(p.dir))
		}
	}
	return dirs, nil
}

// Journal is what a cursor holds that nobody has open.
type Journal struct {
	Cursor    string
	Committed hydrant.Position
	Entries   []Entry
}

// Journals reads those of streams/<name> that verify, by name: it is for Verify to complain about the others. It changes
// nothing.
func Journals(fsys hydrant.FS, streamDir string) ([]Journal, error) {
	place := streamPlace("", streamDir)
	segs, err := listSegments(fsys, place.dir)
	if err != nil || len(segs) == 0 || segs[0].bad != nil {
		return nil, err
	}
	header := segs[0].header
	v := verifier{fsys: fsys, place: place, log: header.log, next: header.base}
	var all []Journal
	err = v.journals(func(name string, j *journal, err error) error {
		var damaged *DamagedCursor
		switch {
		case err == nil:
			all = append(all, Journal{name, j.committed, j.entries})
		case !errors.As(err, &damaged):
			return err
		}
		return nil
	})
	return all, err
}
