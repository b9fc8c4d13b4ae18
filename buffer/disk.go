package buffer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hydrantd/hydrant"
)

// Options says how a log on disk is opened.
type Options struct {
	FS        hydrant.FS
	Clock     hydrant.Clock
	Rand      io.Reader // of ids and salts; crypto/rand outside the simulation
	Dir       string    // streams/<name>: the log makes log, cursors and quarantine in it
	Name      string    // the pipeline, for errors and log lines
	Shards    int       // 0 = 1; a change closes and opens shards
	Retention time.Duration
	MaxBytes  int64    // of the segments; 0 = as much as the disk has
	Cursors   []string // those that will be opened: what is kept stays for them, also while they cannot be made
	AcceptGap []string // cursors that may be past the log's end: their positions are given up as damaged
	Logger    *slog.Logger
}

// Disk is the Log in files. FORMAT.md specifies them.
//
// Who holds turn is the only one that writes to the log: it owns w. mu guards what everybody looks at and is
// never held across a call of FS or Clock.
type Disk struct {
	o       Options
	id      hydrant.LogID
	run     hydrant.RunID
	lanes   lanes
	files   *files // read handles
	opening uint32

	openedWall int64 // Unix ms
	openedMono time.Duration

	turn  hydrant.Turn
	w     writer
	sweep hydrant.Turn // who holds it removes segments, oldest first
	grown hydrant.Bell // something became durable
	space hydrant.Bell // something was freed, or the log was closed

	mu       sync.Mutex
	segs     []*segment // by base; the last one is being written
	end      hydrant.Position
	disk     int64 // bytes of segs
	fold     fold
	lastTime int64
	largest  int64 // bytes of the largest block that the reserves must have room for
	forming  *group
	writes   uint64 // counts Writes, to rotate records without a key
	full     *fullness
	poisoned error
	closed   bool
	cursors  map[string]*cursorState
	warned   map[string]time.Duration
}

var _ Log = (*Disk)(nil)

// Open opens the log of a pipeline, or makes it. It recovers what an earlier process left: see recover.go. The caller
// holds the lock of the data directory.
func Open(o Options) (*Disk, Recovery, error) {
	d := &Disk{o: o, cursors: map[string]*cursorState{}, warned: map[string]time.Duration{}, largest: reserveLeast - reserveMargin}
	if d.o.Shards == 0 {
		d.o.Shards = 1
	}
	if d.o.Logger == nil {
		d.o.Logger = slog.New(slog.DiscardHandler)
	}
	if d.o.MaxBytes == 0 {
		d.o.MaxBytes = math.MaxInt64
	}
	d.o.Logger = d.o.Logger.With("stream", o.Name)
	d.files = &files{fsys: o.FS, dir: d.logDir(), keep: openFiles}
	d.fold = newFold()
	d.openedWall, d.openedMono = o.Clock.Wall().UnixMilli(), o.Clock.Mono()
	if _, err := io.ReadFull(o.Rand, d.run[:]); err != nil {
		return nil, Recovery{}, err
	}
	r := recovery{d: d}
	if err := r.run(); err != nil {
		d.files.close()
		return nil, r.Recovery, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expect(o.Cursors...)
	return d, r.Recovery, nil
}

func (d *Disk) logDir() string        { return filepath.Join(d.o.Dir, "log") }
func (d *Disk) cursorDir() string     { return filepath.Join(d.o.Dir, "cursors") }
func (d *Disk) quarantineDir() string { return filepath.Join(d.o.Dir, "quarantine") }

// State implements Log.
func (d *Disk) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := State{
		Log: d.id, Run: d.run, Horizon: d.segs[0].base, End: d.end, Disk: d.disk,
		Appended: d.fold.appended, Damaged: d.fold.damaged, LastTime: d.lastTime,
		Poisoned: d.poisoned, Shards: slices.Clone(d.fold.shards),
	}
	if d.full != nil && !d.full.freed {
		s.Full = d.full.err
	}
	return s
}

// Positions yields what the log remembers of one source, in the order of the keys.
func (d *Disk) Positions(source string, yield func(key string, pos []byte) bool) {
	d.mu.Lock()
	var all []sourcePosition
	for at, pos := range d.fold.sources {
		if at.source == source {
			all = append(all, sourcePosition{at, pos})
		}
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b sourcePosition) int { return a.compare(b) })
	for _, p := range all {
		if !yield(p.key, bytes.Clone(p.pos)) {
			return
		}
	}
}

// Close implements Log.
func (d *Disk) Close() error {
	d.mu.Lock()
	was := d.closed
	d.closed = true
	d.mu.Unlock()
	d.space.Ring()
	if was {
		return nil
	}
	d.hold(&d.turn)
	defer d.turn.Give()
	if err := d.prove(); err != nil {
		d.warn("last block not proved, damage to it would not be told from a power cut", err)
	}
	err := d.w.file.Close()
	d.w.file = nil
	return errors.Join(err, d.files.close())
}

// prove puts an empty block behind one that nothing proves: so after an orderly end what does not verify is damage, and
// never taken for a block that was not finished. The caller holds the turn.
func (d *Disk) prove() error {
	w := &d.w
	d.mu.Lock()
	poisoned := d.poisoned != nil
	d.mu.Unlock()
	if poisoned || !w.bare {
		return nil
	}
	if err := d.room(blockAlign); err != nil {
		return err
	}
	if !w.bare {
		return nil // a new segment proves it as well
	}
	running, wall := d.now()
	h := head{kind: kindData, base: d.end, time: running, wall: wall, run: d.run, seq: w.seq, prev: w.prev}
	if _, err := w.file.WriteAt(appendBlock(nil, &w.seg.salt, &h, nil, nil), w.at); err != nil {
		return err
	}
	w.bare = false
	return w.file.Sync(hydrant.PointBlock)
}

// hold takes a turn. Without a context that cannot fail.
func (d *Disk) hold(t *hydrant.Turn) {
	var always context.Context
	if err := t.Take(always, d.o.Clock); err != nil {
		panic("BUG: a wait without an end ended: " + err.Error())
	}
}

// now is the running time of the log: it follows the time of day, and never falls.
func (d *Disk) now() (running, wall int64) {
	wall = d.o.Clock.Wall().UnixMilli()
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(wall, d.lastTime), wall
}

// quiet is how long a warning is not said again: a full disk is one thing to say, however often it shows.
const quiet = 10 * time.Minute

// warn says what may happen again and again.
func (d *Disk) warn(msg string, err error) {
	mono := d.o.Clock.Mono()
	d.mu.Lock()
	last, said := d.warned[msg]
	say := !said || mono-last >= quiet
	if say {
		d.warned[msg] = mono
	}
	d.mu.Unlock()
	if say {
		d.o.Logger.Warn(msg, "err", err)
	}
}

// poison ends appending for good (I7).
func (d *Disk) poison(err error) {
	d.mu.Lock()
	first := d.poisoned == nil
	if first {
		d.poisoned = err
	}
	d.mu.Unlock()
	d.space.Ring()
	if first {
		d.o.Logger.Error("log poisoned by a failed sync, restart to go on", "err", err)
	}
}
