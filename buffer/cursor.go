package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
)

// ErrInUse: the cursor has a holder already.
var ErrInUse = errors.New("the cursor is in use")

const (
	journalAlloc  = 64 << 10 // of each of the two files
	reserveSuffix = ".reserve"
	tempSuffix    = ".tmp"
)

// journalSuffixes are those of the two files of a cursor, which take turns: a snapshot goes into the one that is not in use.
var journalSuffixes = [2]string{".a", ".b"}

// CursorInfo is what the log knows of a cursor, opened or not.
type CursorInfo struct {
	Name      string
	Committed hydrant.Position // durable; when Err is set, at least this far
	Open      bool             // false: orphaned, unless its delivery is still to come
	Err       error            // why it cannot be opened: a *DamagedCursor
}

// DamagedCursor says that a journal lost something that was durable. Its delivery has to hold: what it would do next may have
// been done already.
type DamagedCursor struct {
	File   string
	Offset int64
	Why    string
}

func (e *DamagedCursor) Error() string {
	return fmt.Sprintf("%s+%d: %s: restore the file, or `hydrant buffer forget` the delivery to start it anew", e.File, e.Offset, e.Why)
}

// cursorState is what the log holds of a cursor file. Guarded by Disk.mu, but for reserve.
type cursorState struct {
	name      string
	committed hydrant.Position
	durable   bool // committed is, because this process synced it: what was read at the opening may be in the page cache alone
	unmade    bool // it has no file yet, and holds back what it begins with
	err       error
	holder    *cursor // nil: not open
	reserve   reserve
}

// cursor is an open journal. It belongs to one goroutine.
type cursor struct {
	d       *Disk
	state   *cursorState
	entries []Entry
	at      journalPlace
	file    hydrant.File
	failed  error // a failed sync: never retried (I7)
	spoiled bool  // a rewriting failed half way: the other file may count now, so nothing may go into this one
	closed  bool
}

// journalPlace is where the next frame of a journal goes.
type journalPlace struct {
	which      int // of journalSuffixes
	generation uint64
	salt       [16]byte
	seq        uint64
	at         int64
	size       int64
	exists     [2]bool
	both       int64 // bytes that each of the two files has
}

// Cursor implements Log. Other errors: ErrInUse, a *DamagedCursor, ErrNewerFormat.
func (d *Disk) Cursor(name string, start Start) (Cursor, error) {
	d.mu.Lock()
	d.expect(name) // now, so that no segment goes that its start is chosen from
	st := d.cursors[name]
	if st.unmade && start == Latest {
		st.committed = d.end
	}
	if st.holder != nil {
		d.mu.Unlock()
		return nil, fmt.Errorf("%w: %s/%s", ErrInUse, d.o.Name, name)
	}
	c := &cursor{d: d, state: st}
	st.holder = c
	d.mu.Unlock()
	err := c.open(!st.unmade)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		st.holder = nil
		return nil, err
	}
	st.unmade = false
	return c, nil
}

// expect makes a cursor that has no file yet hold back what is kept. A disk that is too full for a journal must not cost its
// delivery the records that others have done with. mu is held.
func (d *Disk) expect(names ...string) {
	for _, name := range names {
		if d.cursors[name] == nil {
			d.cursors[name] = &cursorState{name: name, committed: d.segs[0].base, unmade: true}
		}
	}
}

// open reads the journal and rewrites it into its other file, or makes it. Like the log, a journal is never appended to by
// a process that did not begin the file: what a predecessor wrote last may not be durable, whatever it reads like.
func (c *cursor) open(known bool) error {
	d := c.d
	if err := d.o.FS.MkdirAll(d.cursorDir()); err != nil {
		return err
	}
	if err := d.openReserve(c.state); err != nil {
		return err
	}
	err := c.load(known)
	if err != nil {
		return errors.Join(err, d.closeReserve(c.state))
	}
	return nil
}

func (c *cursor) load(known bool) error {
	d := c.d
	if !known {
		return c.create()
	}
	j, err := readJournal(d.o.FS, d.cursorDir(), c.state.name, d.id)
	if err != nil {
		return err
	}
	c.entries, c.at = j.entries, j.journalPlace
	// What was read may be in the page cache alone: written by a process that was killed before its sync, or dropped by a
	// sync that failed. The other file is then the only one on the disk, so it is replaced whole, not overwritten.
	there := c.at.exists
	c.at.exists[1-j.which] = false
	err = c.rewrite(j.committed, j.entries)
	if !hydrant.NoSpace(err) || c.failed != nil {
		return err
	}
	// A full disk has no room for a third file. It must not keep the delivery from freeing some.
	c.at.exists = there
	if err := c.prove(j.which); err != nil {
		return err
	}
	return c.rewrite(j.committed, j.entries)
}

// prove makes durable what was read of a file.
func (c *cursor) prove(which int) error {
	f, err := c.d.o.FS.Open(c.path(which), os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(hydrant.PointSnapshot), f.Close())
}

// create makes both files, the second one empty, and names them when they are durable.
func (c *cursor) create() error {
	d := c.d
	c.at = journalPlace{which: 1, both: journalAlloc}
	blank := c.path(1)
	if err := c.makeFile(blank+tempSuffix, nil, journalAlloc); err != nil {
		return err
	}
	if err := d.o.FS.Rename(blank+tempSuffix, blank); err != nil {
		return err
	}
	return c.rewrite(c.state.committed, nil)
}

// makeFile writes a new file and makes its bytes durable.
func (c *cursor) makeFile(path string, buf []byte, size int64) error {
	f, err := c.d.o.FS.Open(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	err = f.Allocate(size)
	if err == nil && buf != nil {
		_, err = f.WriteAt(buf, 0)
	}
	if err == nil {
		err = f.Sync(hydrant.PointCursorFile)
	}
	return errors.Join(err, f.Close())
}

func (c *cursor) path(which int) string {
	return filepath.Join(c.d.cursorDir(), c.state.name+journalSuffixes[which])
}

// rewrite puts everything into one frame of the other file, syncs it, and only then gives up the one in use, by
// clearing its header: so a damaged header can never bring back an older journal.
func (c *cursor) rewrite(committed hydrant.Position, entries []Entry) error {
	d, to := c.d, 1-c.at.which
	next := journalPlace{which: to, generation: c.at.generation + 1, seq: 2, exists: [2]bool{true, true}}
	if _, err := io.ReadFull(d.o.Rand, next.salt[:]); err != nil {
		return err
	}
	h := cursorHeader{generation: next.generation, salt: next.salt, log: d.id}
	buf := appendFrame(h.encode(), &next.salt, 1, committed, entries)
	next.at = int64(len(buf))
	// At least half of it is left for frames, so that rewriting stays rare.
	next.size = max(journalAlloc, c.at.both)
	for next.size < 2*next.at {
		next.size *= 2
	}
	next.both = next.size
	f, err := c.install(&next, buf, c.at.exists[to])
	if err != nil {
		return err
	}
	old := c.file
	c.file = f
	if c.at.generation > 0 {
		has, err := c.retire(old, c.at.which, next.size)
		if err != nil {
			return c.fail(err)
		}
		// It never holds more than the other one has room for: or a full disk could keep it from being rewritten.
		next.both = min(next.size, has)
		next.size = max(next.at, next.both)
	}
	c.at, c.spoiled = next, false
	c.settle(committed)
	return nil
}

// install writes a whole journal file, under a temporary name if there is none yet.
func (c *cursor) install(next *journalPlace, buf []byte, exists bool) (hydrant.File, error) {
	d, path, point := c.d, c.path(next.which), hydrant.PointSnapshot
	name, flag := path, os.O_RDWR
	if !exists {
		name, flag, point = path+tempSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, hydrant.PointCursorFile
	}
	f, err := d.o.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	if err = f.Allocate(next.size); exists && hydrant.NoSpace(err) {
		err = c.squeeze(f, next)
	}
	if err == nil {
		c.spoiled = exists
		_, err = f.WriteAt(buf, 0)
	}
	if err != nil && !exists {
		return nil, errors.Join(err, f.Close(), d.o.FS.Remove(name))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(point); err != nil {
		return nil, errors.Join(c.fail(err), f.Close())
	}
	if exists {
		return f, nil
	}
	if err = d.o.FS.Rename(name, path); err == nil {
		err = hydrant.SyncDir(d.o.FS, d.cursorDir(), hydrant.PointCursorFile)
	}
	if err != nil {
		return nil, errors.Join(c.fail(err), f.Close())
	}
	return f, nil
}

// squeeze makes room for a journal in its file on a full disk, because a journal that cannot be written frees nothing: what the
// file has must do, or exactly what is needed, at last out of the space kept back for the spool.
func (c *cursor) squeeze(f hydrant.File, next *journalPlace) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	next.size = max(size, next.at)
	if size >= next.at {
		return nil
	}
	if err = f.Allocate(next.at); !hydrant.NoSpace(err) {
		return err
	}
	if short := c.Lend(next.at); short != nil {
		return errors.Join(err, short)
	}
	return f.Allocate(next.at)
}

// retire clears the header of the file that is given up, lets it grow to size if the disk has that much, and says how large it
// is. f may be nil: it is not open.
func (c *cursor) retire(f hydrant.File, which int, size int64) (has int64, err error) {
	if f == nil {
		if f, err = c.d.o.FS.Open(c.path(which), os.O_RDWR); err != nil {
			return 0, err
		}
	}
	if err = f.Allocate(size); hydrant.NoSpace(err) {
		err = nil
	}
	if err == nil {
		_, err = f.WriteAt(make([]byte, fileHeaderLen), 0)
	}
	if err == nil {
		err = f.Sync(hydrant.PointSnapshot)
	}
	if err == nil {
		has, err = f.Size()
	}
	return has, errors.Join(err, f.Close())
}

func (c *cursor) fail(err error) error {
	c.failed = fmt.Errorf("%s: %w: restart to go on", c.path(c.at.which), err)
	return c.failed
}

// settle makes committed known to the log, after it is durable.
func (c *cursor) settle(committed hydrant.Position) {
	c.d.mu.Lock()
	moved := c.state.committed < committed || !c.state.durable
	c.state.committed, c.state.durable = committed, true
	c.d.mu.Unlock()
	if moved {
		c.d.release()
		c.d.shrink()
	}
}

// Committed implements Cursor.
func (c *cursor) Committed() hydrant.Position {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return c.state.committed
}

// Entries implements Cursor.
func (c *cursor) Entries() []Entry { return c.entries }

// Write implements Cursor. After a failed sync every Write fails: only a restart can tell what is durable.
func (c *cursor) Write(p hydrant.Point, committed hydrant.Position, entries []Entry, snapshot func() []Entry) error {
	switch {
	case c.closed:
		return ErrClosed
	case c.failed != nil:
		return c.failed
	case committed < c.state.committed:
		panic(fmt.Sprintf("BUG: committed of %s falls from %d to %d", c.state.name, c.state.committed, committed))
	}
	if c.spoiled || c.at.at+int64(frameSize(entries)) > c.at.size {
		return c.rewrite(committed, append(slices.Clip(snapshot()), entries...))
	}
	buf := appendFrame(nil, &c.at.salt, c.at.seq, committed, entries)
	if _, err := c.file.WriteAt(buf, c.at.at); err != nil {
		return err
	}
	if hydrant.Sabotaged(hydrant.RuleFreeAfterDone) {
		c.settle(committed)
	}
	if err := c.file.Sync(p); err != nil {
		return c.fail(err)
	}
	c.at.at += int64(len(buf))
	c.at.seq++
	c.settle(committed)
	return nil
}

// Close implements Cursor.
func (c *cursor) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	err := errors.Join(c.file.Close(), c.d.closeReserve(c.state))
	c.d.mu.Lock()
	c.state.holder = nil
	c.d.mu.Unlock()
	return err
}

// Cursors says what cursors there are, by name.
func (d *Disk) Cursors() []CursorInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []CursorInfo
	for _, st := range d.cursors {
		if !st.unmade {
			all = append(all, CursorInfo{st.name, st.committed, st.holder != nil, st.err})
		}
	}
	slices.SortFunc(all, func(a, b CursorInfo) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// least is the position that every durable cursor is past, orphans included. Without a cursor it is 0: nothing has been
// delivered. One that was not opened yet holds everything back. mu is held.
func (d *Disk) least() hydrant.Position {
	if len(d.cursors) == 0 {
		return 0
	}
	least := ^hydrant.Position(0)
	for _, st := range d.cursors {
		least = min(least, st.committed)
		if !st.durable {
			least = min(least, d.segs[0].base)
		}
	}
	return least
}

// consumed tells whether nobody needs s once it is closed.
func (d *Disk) consumed(s *segment) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.o.Retention == 0 && d.least() >= s.next
}

// release removes the segments that every cursor and the retention are past (I6), oldest first.
func (d *Disk) release() {
	mono := d.o.Clock.Mono()
	if d.oldest(mono) == nil {
		return
	}
	d.hold(&d.sweep)
	defer d.sweep.Give()
	freed := false
	for s := d.oldest(mono); s != nil && d.drop(s); s = d.oldest(mono) {
		freed = true
	}
	if freed {
		d.mu.Lock()
		if d.full != nil {
			d.full.freed = true
		}
		d.mu.Unlock()
		d.space.Ring()
	}
}

// overtake frees the oldest segment that every cursor is past although its retention is not over, because there is no
// space for what arrives: retention is as long as the space allows. False: there is none.
func (d *Disk) overtake() bool {
	d.hold(&d.sweep)
	defer d.sweep.Give()
	s := d.passed()
	return s != nil && d.drop(s)
}

// oldest is the first segment if it may go, else nil.
func (d *Disk) oldest(mono time.Duration) *segment {
	if s := d.passed(); s != nil && mono-s.closed >= d.o.Retention {
		return s
	}
	return nil
}

// passed is the first segment if every cursor is past it, else nil. The one being written never is.
func (d *Disk) passed() *segment {
	d.mu.Lock()
	defer d.mu.Unlock()
	// What lies between two segments is lost, and has to be passed as well.
	if len(d.segs) < 2 || d.segs[1].base > d.least() {
		return nil
	}
	return d.segs[0]
}

// drop removes the first segment, s. The holder of sweep calls it.
func (d *Disk) drop(s *segment) bool {
	err := d.remove(s)
	if err != nil {
		d.warn("segment not removed, it goes later", err)
	}
	return err == nil
}

// remove takes the first segment off the chain. Removals become durable one by one: a hole in the chain would look like
// damage.
func (d *Disk) remove(s *segment) error {
	d.mu.Lock()
	d.segs = d.segs[1:]
	d.mu.Unlock()
	err := d.o.FS.Remove(filepath.Join(d.logDir(), s.name()))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.mu.Lock()
		d.segs = append([]*segment{s}, d.segs...)
		d.mu.Unlock()
		return err
	}
	d.mu.Lock()
	d.disk -= s.size
	d.fold.drop(d.segs[0].base)
	d.mu.Unlock()
	if err := d.files.forget(s); err != nil {
		d.warn("removed segment not closed", err)
	}
	return hydrant.SyncDir(d.o.FS, d.logDir(), hydrant.PointSegmentDir)
}
