package buffer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
)

// segment is what memory holds of one file of the chain. next, size, limit, closed and kept are guarded by Disk.mu, the
// rest never changes.
type segment struct {
	run     hydrant.RunID
	opening uint32
	salt    [16]byte
	base    hydrant.Position
	created int64 // running time, Unix ms: nothing in earlier segments is younger

	next   hydrant.Position // behind its last record; of the one being written: the durable end
	size   int64            // bytes on disk
	limit  int64            // where its durable bytes end, at the latest
	closed time.Duration    // when it got its successor, on Clock.Mono's scale; may lie before the process
	kept   []int64          // where damaged bytes begin that are copied to the quarantine
}

func (s *segment) name() string { return segmentName(s.base, s.run) }

func segmentName(base hydrant.Position, run hydrant.RunID) string {
	return fmt.Sprintf("%020d-%s.seg", base, run)
}

const (
	tempName   = "segment.tmp"
	firstAlloc = 128 << 10 // of the first segment of an opening, so that an idle pipeline costs little
	openFiles  = 32        // read handles, and sparse indices, kept
)

// classes are the sizes of segments. The rate chooses one: a segment is to last for fillTime.
var classes = [...]int64{1 << 20, 4 << 20, 16 << 20, 64 << 20}

const fillTime = 30 * time.Second

// noCap as freed lets a segment begin whatever buffer.max_bytes says: without one the log could not be opened.
const noCap = 1 << 62

// writer is the end of the chain, where blocks are appended. It belongs to the holder of Disk.turn.
type writer struct {
	file   hydrant.File // nil after Close
	seg    *segment
	at     int64  // where the next block goes
	seq    uint32 // of the next block
	prev   uint32 // head crc of the last one
	target int64  // how far the segment may grow
	class  int
	begun  time.Duration // Mono
	left   bool          // the segment is given up: the next block goes into a new one
	bare   bool          // the last block carries something, and nothing proves it yet
}

// fullness is why the log takes nothing at the moment.
type fullness struct {
	err   error
	since time.Duration // of the last attempt, Mono
	freed bool          // something was freed since
}

// fullError is an ErrFull with its reason.
type fullError struct{ why error }

func (e fullError) Error() string        { return ErrFull.Error() + ": " + e.why.Error() }
func (e fullError) Is(target error) bool { return target == ErrFull }
func (e fullError) Unwrap() error        { return e.why }

func fullf(format string, args ...any) error { return fullError{fmt.Errorf(format, args...)} }

// room makes sure that n bytes can be written at w.at: in what the segment has, by letting it grow, or in a new one.
// An error is an ErrFull, and nothing has changed; or the log is poisoned.
func (d *Disk) room(n int64) error {
	w := &d.w
	switch {
	case !w.left && w.at+n <= w.seg.size:
		return nil
	case !w.left && w.at+n <= w.target:
		return d.extend(w.at + n)
	}
	return d.rollover(n)
}

// extend lets the segment that is being written grow to at least size bytes: twice as much as it has, if that can be had.
func (d *Disk) extend(size int64) error {
	w := &d.w
	if err := d.fillReserves(); err != nil {
		return err
	}
	for _, want := range []int64{min(max(2*w.seg.size, size), w.target), size} {
		if err := d.fits(want-w.seg.size, 0); err != nil {
			if want == size {
				return err
			}
			continue
		}
		err := w.file.Allocate(want)
		if err != nil && hydrant.NoSpace(err) && want != size {
			continue
		}
		if err != nil {
			return fullError{err}
		}
		d.mu.Lock()
		d.disk += want - w.seg.size
		w.seg.size = want
		d.mu.Unlock()
		return nil
	}
	return nil
}

// fits tells whether the segments may take n bytes more when freed bytes go.
func (d *Disk) fits(n, freed int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.disk-freed+n > d.o.MaxBytes {
		return fullf("buffer.max_bytes: the segments hold %d bytes of the %d that are theirs, and %d more are needed", d.disk, d.o.MaxBytes, n)
	}
	return nil
}

// rollover closes the segment being written and begins a new one with room for a block of n bytes, as large as the
// rate asks for, or as small as it must be.
func (d *Disk) rollover(n int64) error {
	w := &d.w
	if err := d.fillReserves(); err != nil {
		return err
	}
	mono := d.o.Clock.Mono()
	class := d.nextClass(mono)
	var freed int64
	if d.consumed(w.seg) {
		freed = w.seg.size // it goes as soon as it has a successor
	}
	created, _ := d.now()
	d.mu.Lock()
	notes := d.fold.notes()
	d.mu.Unlock()
	for ; ; class-- {
		alloc := int64(firstAlloc) // the last try: as little as can be
		if class >= 0 {
			alloc = classes[class]
		}
		s, err := d.begin(d.end, created, n, alloc, classes[max(class, 0)], freed, notes, nil)
		if err == nil {
			d.adopt(s, max(class, 0), mono)
			d.release()
			return nil
		}
		if class < 0 || !errors.Is(err, ErrFull) {
			return err
		}
	}
}

// shrink gives back a large segment when everything in it is delivered and it would be made smaller now: so a pipeline that
// has calmed down costs as little as one that was always calm.
func (d *Disk) shrink() {
	d.mu.Lock()
	s := d.segs[len(d.segs)-1]
	large := s.size > classes[0] && d.least() >= d.end && d.o.Retention == 0 && !d.closed && d.poisoned == nil
	d.mu.Unlock()
	if !large {
		return
	}
	d.hold(&d.turn)
	defer d.turn.Give()
	w := &d.w
	if w.file == nil || w.seg != s || !d.consumed(s) || d.nextClass(d.o.Clock.Mono()) >= w.class {
		return
	}
	if err := d.rollover(0); err != nil {
		d.warn("large segment kept", err)
	}
}

// nextClass is the size class for the rate at which the segment being written was filled. It grows by one step at a time
// and falls at once.
func (d *Disk) nextClass(mono time.Duration) int {
	w := &d.w
	class := 0
	took := max(mono-w.begun, time.Second)
	perFill := float64(w.at) * float64(fillTime) / float64(took)
	for class < len(classes)-1 && class <= w.class && perFill > float64(classes[class]) {
		class++
	}
	for class > 0 && classes[class] > d.o.MaxBytes/8 {
		class--
	}
	return class
}

// opened is a segment that was just made, and where to go on in it.
type opened struct {
	seg    *segment
	file   hydrant.File
	at     int64
	seq    uint32
	prev   uint32
	target int64
	bare   bool
}

// adopt makes s the segment that is written to. The one before it ends where s begins.
func (d *Disk) adopt(s *opened, class int, mono time.Duration) {
	w := &d.w
	if w.file != nil {
		// Everything in it is synced, or given up: an error of Close says nothing of interest.
		_ = w.file.Close()
	}
	w.file, w.seg, w.at, w.seq, w.prev, w.target = s.file, s.seg, s.at, s.seq, s.prev, s.target
	w.class, w.begun, w.left, w.bare = class, mono, false, s.bare
	if old := d.chain(s.seg, mono); old != nil {
		if err := d.files.forget(old); err != nil {
			d.warn("replaced segment not closed", err)
		}
	}
}

// chain puts s at the end of the chain. A segment without a record has its successor's name, whose file has taken the place of
// its own: it leaves the chain, and is returned.
func (d *Disk) chain(s *segment, mono time.Duration) (replaced *segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.segs); n > 0 {
		last := d.segs[n-1]
		last.closed = mono
		if last.name() == s.name() {
			replaced = last
			d.segs, d.disk = slices.Clone(d.segs[:n-1]), d.disk-last.size
		}
	}
	d.segs = append(d.segs, s)
	d.disk += s.size
	return replaced
}

// begin makes the segment that starts at base, with a checkpoint and then the blocks that more appends, durable under its
// name. It has room for a block of n bytes behind that, gets alloc bytes now and may grow to target. An
// error is an ErrFull and leaves nothing; or the log is poisoned.
func (d *Disk) begin(base hydrant.Position, created, n, alloc, target, freed int64, notes []Note, more []*sealed) (*opened, error) {
	s := &segment{run: d.run, opening: d.opening, base: base, created: created, next: base, closed: hydrant.Never}
	if _, err := io.ReadFull(d.o.Rand, s.salt[:]); err != nil {
		return nil, fullError{err}
	}
	header := segmentHeader{run: s.run, log: d.id, salt: s.salt, base: base, created: created, opening: s.opening}
	buf := header.encode()
	o := &opened{seg: s, bare: len(more) > 0}
	wall := d.o.Clock.Wall().UnixMilli()
	blocks := append([]*sealed{{head: head{kind: kindCheckpoint, base: base, time: created, wall: wall, run: d.run}, notes: notes}}, more...)
	for _, b := range blocks {
		b.head.seq, b.head.prev = o.seq, o.prev
		buf = appendBlock(buf, &s.salt, &b.head, b.recs, b.notes)
		o.seq, o.prev = o.seq+1, b.head.crc
		s.next += hydrant.Position(b.head.count)
	}
	o.at = int64(len(buf))
	s.limit = o.at
	o.target = max(target, o.at+n)
	s.size = min(max(alloc, o.at+n), o.target)
	if err := d.fits(s.size, freed); err != nil {
		return nil, err
	}
	return o, d.install(o, buf)
}

// install writes a new segment under a temporary name, syncs it, and gives it its own: it is there whole or not at all.
func (d *Disk) install(o *opened, buf []byte) error {
	temp, name := filepath.Join(d.logDir(), tempName), filepath.Join(d.logDir(), o.seg.name())
	f, err := d.o.FS.Open(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fullError{err}
	}
	if err = f.Allocate(o.seg.size); err == nil {
		_, err = f.WriteAt(buf, 0)
	}
	if err != nil {
		return errors.Join(fullError{err}, f.Close(), d.o.FS.Remove(temp))
	}
	if err := f.Sync(hydrant.PointSegmentHeader); err != nil {
		_ = f.Close()
		return d.failedSync(err)
	}
	if err := d.o.FS.Rename(temp, name); err != nil {
		// Whether it has its name is not known. If it has, the old segment ends here: nothing more may go into that one.
		d.w.left = true
		return errors.Join(fullError{err}, f.Close())
	}
	if err := hydrant.SyncDir(d.o.FS, d.logDir(), hydrant.PointSegmentDir); err != nil {
		_ = f.Close()
		return d.failedSync(err)
	}
	o.file = f
	return nil
}

// failedSync poisons the log.
func (d *Disk) failedSync(err error) error {
	d.poison(err)
	return fmt.Errorf("%w: %w", ErrPoisoned, err)
}
