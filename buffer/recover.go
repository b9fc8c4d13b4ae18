package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hydrantd/hydrant"
)

// Recovery is what opening a log found, beside what it was to find.
type Recovery struct {
	Segments    int              // files of the log
	Unproven    int64            // records of the last block, which was copied and synced anew (I4)
	Torn        *Torn            // what was being written when the last process ended
	Damaged     []Corrupt        // found lost now; what readers find later is not in it
	Renamed     []string         // segments that had another name than their header says
	Quarantined []string         // files in quarantine/
	Gaps        []string         // cursors whose positions were given up, by Options.AcceptGap
	Cursors     []*DamagedCursor // deliveries that have to hold
	Took        time.Duration
}

// Torn is a block at the end of the log that did not reach the disk whole: nobody was told that it was there.
type Torn struct {
	Segment string
	Offset  int64
	Records int64 // -1: its head cannot be read
}

func (t *Torn) String() string {
	if t.Records < 0 {
		return fmt.Sprintf("%s+%d: its head did not reach the disk", t.Segment, t.Offset)
	}
	return fmt.Sprintf("%s+%d: of %d records", t.Segment, t.Offset, t.Records)
}

// recovery opens a log: first it only reads, and refuses what it must refuse; then it makes a new segment; and only when that is
// durable it tidies up. A crash at any step leaves a log that is opened in the same way again.
type recovery struct {
	Recovery
	d      *Disk
	chain  []*segment // by base, none covered by another
	old    []*segment // covered whole by younger ones: to be removed
	broken []string   // files whose header cannot be read
	names  map[*segment]string
	temps  []string // paths
	lent   []lent   // reserves that were shortened, on a full disk
	passed []passed // by name

	end  hydrant.Position // behind the last block that is kept where it is
	last *lastBlock       // nil: there is nothing to be proved
	cut  *Torn            // a block at the end that was durable, and whose head is damaged
	tail struct {         // where the last segment ends
		at        int64
		seq, prev uint32
	}
}

// lent is a reserve and the size that it had.
type lent struct {
	path string
	size int64
}

// passed is how far the log went, as far as a journal knows.
type passed struct {
	name      string
	committed hydrant.Position
	reach     hydrant.Position
}

// lastBlock is the block that no successor proves.
type lastBlock struct {
	at    int64
	head  head
	notes []Note
	batch hydrant.Batch
	bad   []*shardRun // that do not verify
}

func (r *recovery) run() error {
	d := r.d
	for _, dir := range []string{d.logDir(), d.cursorDir(), d.quarantineDir()} {
		if err := d.o.FS.MkdirAll(dir); err != nil {
			return err
		}
	}
	// They may have been made by a process that was killed before it could sync them: up to the data directory.
	for dir, i := d.o.Dir, 0; i < 3; dir, i = filepath.Dir(dir), i+1 {
		if err := hydrant.SyncDir(d.o.FS, dir, hydrant.PointMkdir); err != nil {
			return err
		}
	}
	steps := []func() error{r.list, r.order, r.loadCursors, r.walk, r.checkCursors, r.saveTail, r.begin, r.jump, r.tidy}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	r.Took = d.o.Clock.Mono() - d.openedMono
	return nil
}

// list reads the headers of all segments.
func (r *recovery) list() error {
	d := r.d
	files, err := d.o.FS.ReadDir(d.logDir())
	if err != nil {
		return err
	}
	r.names = map[*segment]string{}
	for _, e := range files {
		switch {
		case strings.HasSuffix(e.Name(), tempSuffix):
			r.temps = append(r.temps, filepath.Join(d.logDir(), e.Name()))
		case strings.HasSuffix(e.Name(), ".seg"):
			if err := r.header(e.Name()); err != nil {
				return fmt.Errorf("%s: %w", filepath.Join(d.logDir(), e.Name()), err)
			}
		}
	}
	if len(r.broken) > 0 && len(r.chain) == 0 {
		return fmt.Errorf("%s: none of %d segments has a valid header: restore one, or move the directory away to begin a new log", d.logDir(), len(r.broken))
	}
	r.Segments = len(r.chain)
	return nil
}

func (r *recovery) header(name string) error {
	d := r.d
	f, err := d.o.FS.Open(filepath.Join(d.logDir(), name), os.O_RDONLY)
	if err != nil {
		return err
	}
	b := make([]byte, fileHeaderLen)
	err = readFull(f, b, 0)
	size, serr := f.Size()
	if serr = errors.Join(serr, f.Close()); serr != nil {
		return serr
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h, err := parseSegmentHeader(b)
	if errors.Is(err, ErrNewerFormat) {
		return err
	}
	if err != nil {
		r.broken = append(r.broken, name)
		return nil
	}
	if len(r.chain) > 0 && h.log != d.id {
		return fmt.Errorf("belongs to log %s, the others to %s: move the files of one of them away", h.log, d.id)
	}
	d.id = h.log
	s := &segment{
		run: h.run, opening: h.opening, salt: h.salt, base: h.base, created: h.created,
		size: size, limit: size,
	}
	r.chain = append(r.chain, s)
	r.names[s] = name
	return nil
}

// order makes the chain: a segment ends where the next one begins, and what a younger one covers does not count.
func (r *recovery) order() error {
	d := r.d
	slices.SortFunc(r.chain, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.opening, b.opening), cmp.Compare(a.base, b.base), cmp.Compare(a.run.String(), b.run.String()))
	})
	for i := len(r.chain) - 1; i > 0; i-- {
		s, younger := r.chain[i-1], r.chain[i]
		if s.base >= younger.base {
			r.old = append(r.old, s)
			r.chain = slices.Delete(r.chain, i-1, i)
			continue
		}
		s.next = younger.base
		s.closed = d.openedMono // the time of day may have jumped meanwhile: nothing is taken for older than this
	}
	for _, s := range r.chain {
		d.opening = max(d.opening, s.opening)
		d.lastTime = max(d.lastTime, s.created)
	}
	d.opening++
	if len(r.chain) > 0 {
		return nil
	}
	r.end = 1
	_, err := io.ReadFull(d.o.Rand, d.id[:])
	return err
}

// loadCursors reads all journals.
func (r *recovery) loadCursors() error {
	d := r.d
	names, temps, err := cursorNames(d.o.FS, d.cursorDir())
	if err != nil {
		return err
	}
	for _, t := range temps {
		r.temps = append(r.temps, filepath.Join(d.cursorDir(), t))
	}
	for _, name := range names {
		j, err := readJournal(d.o.FS, d.cursorDir(), name, d.id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its making was cut off
		}
		st := &cursorState{name: name, committed: j.committed}
		if damage := (*DamagedCursor)(nil); errors.As(err, &damage) {
			st.err = damage
			r.Cursors = append(r.Cursors, damage)
			d.o.Logger.Error("journal damaged, its delivery holds", "delivery", name, "err", err)
		} else if err != nil {
			return err
		}
		d.cursors[name] = st
		r.passed = append(r.passed, passed{name, j.committed, j.reach()})
	}
	return nil
}

// reach is the position up to which the log was durable, as far as the journals know.
func (r *recovery) reach() hydrant.Position {
	var to hydrant.Position
	for _, p := range r.passed {
		to = max(to, p.reach)
	}
	return to
}

// checkCursors refuses a log that ends before what was delivered from it, or is about to be.
func (r *recovery) checkCursors() error {
	d := r.d
	end := r.logEnd()
	if reach := r.reach(); r.Torn != nil && reach > end && reach <= end+mostRecords {
		r.loseTail(reach)
		return nil
	}
	var behind []error
	for _, p := range r.passed {
		if p.reach <= end {
			continue
		}
		if slices.Contains(d.o.AcceptGap, p.name) {
			r.Gaps = append(r.Gaps, p.name)
			continue
		}
		has := "delivered"
		if p.committed <= end {
			has = "spooled"
		}
		behind = append(behind, fmt.Errorf(
			"%w: %s/%s has %s up to position %d, the log ends at %d: restore the newer volume, or go on without those records by `hydrant run --accept-gap %s/%s`",
			ErrBehind, d.o.Name, p.name, has, p.reach, end, d.o.Name, p.name))
	}
	return errors.Join(behind...)
}

// loseTail counts what lies behind the last valid block as a block whose head is damaged. It was durable; so was the block
// before it, which needs no proof.
func (r *recovery) loseTail(reach hydrant.Position) {
	if b := r.last; b != nil {
		r.take(b)
		r.last, r.end = nil, b.head.next()
	}
	r.lose(r.chain[len(r.chain)-1], r.Torn.Offset, hydrant.Span{From: r.end, To: reach}, 0, "the head of the block does not verify")
	r.cut, r.Torn = r.Torn, nil
}

// take folds the last block, which has been read.
func (r *recovery) take(b *lastBlock) {
	d := r.d
	d.fold.appended.Add(Totals{int64(b.head.count), b.head.bytes()})
	if err := d.fold.apply(b.notes); err != nil {
		d.o.Logger.Warn("note not understood", "err", err)
	}
}

// logEnd is the position behind the last record that is kept.
func (r *recovery) logEnd() hydrant.Position {
	if r.last != nil {
		return r.last.head.next()
	}
	return r.end
}

// begin makes the segment of this opening: checkpoint, the block that had to be proved, and the shards if their number
// changed. Only from here on readers may look.
func (r *recovery) begin() error {
	d := r.d
	created, wall := d.now()
	checkpoint := d.fold.notes()
	var more []*sealed
	base := r.end
	if b := r.last; b != nil {
		base = b.head.base
		more = append(more, r.copyOf(b))
		r.Unproven = int64(b.head.count)
		r.take(b)
	}
	d.end = r.logEnd()
	if notes := r.shards(created); len(notes) > 0 {
		more = append(more, &sealed{head: head{kind: kindData, base: d.end, time: created, wall: wall, run: d.run}, notes: notes})
	}
	d.lanes = makeLanes(d.fold.shards)
	d.lastTime = created
	mono := d.o.Clock.Mono()
	if hydrant.Sabotaged(hydrant.RuleOwnSegments) && len(r.chain) > 0 && len(more) == 0 {
		return r.goOn(mono)
	}
	alloc, free := int64(firstAlloc), d.o.MaxBytes
	for _, s := range r.chain {
		free -= s.size
	}
	if free < alloc {
		alloc = 0 // as little as can be: restarted again and again at the cap, the log must not go far beyond it
	}
	s, err := d.begin(base, created, 0, alloc, classes[0], noCap, checkpoint, more)
	if errors.Is(err, ErrFull) {
		s, err = r.borrow(func() (*opened, error) { return d.begin(base, created, 0, 0, classes[0], noCap, checkpoint, more) })
	}
	if err != nil {
		return err
	}
	if n := len(r.chain); n > 0 {
		last := r.chain[n-1]
		last.next, last.closed = base, mono
		if last.base >= base {
			r.old = append(r.old, last) // nothing in it but what was copied
			r.chain = r.chain[:n-1]
		}
	}
	d.segs = r.chain
	for _, s := range r.chain {
		d.disk += s.size
	}
	d.adopt(s, 0, mono)
	return nil
}

// borrow makes the segment on a full disk: from the space kept back for the spools, a little of each and then all of it,
// until it suffices. What was copied is then given up in the old segment, so that there is as much space as before.
func (r *recovery) borrow(begin func() (*opened, error)) (*opened, error) {
	d := r.d
	need := int64(reserveMargin)
	if r.last != nil {
		need += int64(r.last.head.length)
	}
	for _, least := range []int64{need, 1 << 62} {
		for _, c := range d.Cursors() {
			if err := r.shorten(d.reservePath(c.Name), least); err != nil {
				return nil, err
			}
			s, err := begin()
			if errors.Is(err, ErrFull) {
				continue
			}
			if n := len(r.chain); err == nil && n > 0 && r.last != nil {
				err = d.truncate(filepath.Join(d.logDir(), r.chain[n-1].name()), func(int64) int64 { return r.last.at })
			}
			return s, err
		}
	}
	return begin()
}

// shorten takes n bytes off a reserve, or all that it has. It need not be there.
func (r *recovery) shorten(path string, n int64) error {
	err := r.d.truncate(path, func(size int64) int64 {
		r.lent = append(r.lent, lent{path, size})
		return max(0, size-n)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// giveBack fills the reserves again with what making the segment left over. What is short is the cursors' affair.
func (r *recovery) giveBack() {
	for _, l := range r.lent {
		f, err := r.d.o.FS.Open(l.path, os.O_RDWR)
		if err == nil {
			err = errors.Join(f.Allocate(l.size), f.Close())
		}
		if err != nil {
			r.d.o.Logger.Warn("space kept back for a spool is short", "err", err)
		}
	}
}

// truncate makes a file as long as length says, given how long it is.
func (d *Disk) truncate(path string, length func(size int64) int64) error {
	f, err := d.o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		err = f.Truncate(length(size))
	}
	return errors.Join(err, f.Close())
}

// copyOf is the block as it goes into the new segment: the same records, positions and run.
func (r *recovery) copyOf(b *lastBlock) *sealed {
	s := &sealed{head: b.head, notes: b.notes}
	s.head.runs = nil
	for i := range b.batch.Len() {
		s.recs = append(s.recs, *b.batch.At(i))
	}
	return s
}

// goOn appends to the last segment of an earlier process: what I3 forbids, for the proof that it matters.
func (r *recovery) goOn(mono time.Duration) error {
	d := r.d
	last := r.chain[len(r.chain)-1]
	f, err := d.o.FS.Open(filepath.Join(d.logDir(), last.name()), os.O_RDWR)
	if err != nil {
		return err
	}
	last.next = d.end
	d.segs = r.chain[:len(r.chain)-1]
	for _, s := range d.segs {
		d.disk += s.size
	}
	d.adopt(&opened{seg: last, file: f, at: r.tail.at, seq: r.tail.seq, prev: r.tail.prev, target: classes[0]}, 0, mono)
	return nil
}

// shards closes and opens shards when their number is to be another one, and returns the notes that say so.
func (r *recovery) shards(created int64) []Note {
	d := r.d
	added, closed := reshard(d.fold.shards, d.o.Shards, created/1000)
	var notes []Note
	for _, s := range added {
		notes = append(notes, ShardOpened{s}.Note())
	}
	for _, id := range closed {
		notes = append(notes, ShardClosed{id, created, d.end}.Note())
	}
	if err := d.fold.apply(notes); err != nil {
		panic("BUG: " + err.Error())
	}
	return notes
}

// jump begins another segment behind the positions that journals know of and the log has lost, so that none of them is
// given twice.
func (r *recovery) jump() error {
	d := r.d
	to := r.reach()
	if to <= d.end {
		return nil
	}
	lost := hydrant.Span{From: d.end, To: to}
	d.fold.appended.Records += lost.Len()
	d.fold.damaged.Records += lost.Len()
	created, _ := d.now()
	s, err := d.begin(to, created, 0, firstAlloc, classes[0], noCap, d.fold.notes(), nil)
	if err != nil {
		return err
	}
	c := Corrupt{Segment: s.seg.name(), Offset: -1, Lost: lost, Records: lost.Len(), Why: "the log ends before what was delivered"}
	r.Damaged = append(r.Damaged, c)
	d.o.Logger.Error("log damaged", "span", lost.String(), "err", &c)
	d.adopt(s, 0, d.o.Clock.Mono())
	d.end = to
	return nil
}

// tidy puts away what the new segment has made useless. What fails here is tried again at the next opening.
func (r *recovery) tidy() error {
	d := r.d
	var errs []error
	for _, s := range r.old {
		errs = append(errs, d.o.FS.Remove(filepath.Join(d.logDir(), r.names[s])))
	}
	for _, path := range r.temps {
		if err := d.o.FS.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	for _, name := range r.broken {
		to := filepath.Join(d.quarantineDir(), name)
		if err := d.o.FS.Rename(filepath.Join(d.logDir(), name), to); err != nil {
			errs = append(errs, err)
			continue
		}
		r.Quarantined = append(r.Quarantined, to)
	}
	r.giveBack()
	if err := errors.Join(errs...); err != nil {
		d.o.Logger.Warn("leftovers not cleared away", "err", err)
	}
	return nil
}
