package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hydrantd/hydrant"
)

// A disk that is full before the cap must not stop the deliveries that would empty it. So each delivery has space kept back for
// its spool, in a file that holds nothing: at least as much as the largest block and a margin, because that block is
// the smallest batch that it may have to build.
const (
	reserveLeast  = 256 << 10
	reserveMargin = 64 << 10
)

// reserve is the space kept back for one delivery. size is guarded by Disk.mu, the rest belongs to the holder of turn.
type reserve struct {
	turn hydrant.Turn
	file hydrant.File // nil: not open
	size int64
}

func (d *Disk) reservePath(name string) string {
	return filepath.Join(d.cursorDir(), name+reserveSuffix)
}

// openReserve opens the reserve of a cursor and fills it. A disk that is too full for it is no error: the log grows no
// more then, until it could be filled.
func (d *Disk) openReserve(st *cursorState) error {
	size, err := d.findReserve(st)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.largest = max(d.largest, size-reserveMargin) // what an earlier process had to provide for
	want := d.reserveWanted()
	d.mu.Unlock()
	if err := d.fillReserve(st, want); err != nil {
		d.warn("no space to keep back for the spool, the buffer does not grow", fmt.Errorf("%s: %w", st.name, err))
	}
	return nil
}

// findReserve opens the file, if it can be had, and says how large it is.
func (d *Disk) findReserve(st *cursorState) (int64, error) {
	r := &st.reserve
	d.hold(&r.turn)
	defer r.turn.Give()
	f, err := d.o.FS.Open(d.reservePath(st.name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		if hydrant.NoSpace(err) {
			return 0, nil
		}
		return 0, err
	}
	size, err := f.Size()
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	r.file = f
	d.setReserve(r, size)
	return size, nil
}

// reserveWanted is how large each reserve has to be. mu is held.
func (d *Disk) reserveWanted() int64 { return max(reserveLeast, d.largest+reserveMargin) }

// fillReserves fills what was lent of the reserves. An error is an ErrFull: the log must not grow.
func (d *Disk) fillReserves() error {
	d.mu.Lock()
	want := d.reserveWanted()
	var short []*cursorState
	for _, st := range d.cursors {
		if st.holder != nil && st.reserve.size < want {
			short = append(short, st)
		}
	}
	d.mu.Unlock()
	slices.SortFunc(short, func(a, b *cursorState) int { return cmp.Compare(a.name, b.name) })
	for _, st := range short {
		if err := d.fillReserve(st, want); err != nil {
			return fullf("the space kept back for the spool of %s: %w", st.name, err)
		}
	}
	return nil
}

// raiseReserves makes every reserve large enough for a block of n bytes. An error is an ErrFull: the block must not be
// written. Only the holder of Disk.turn calls it.
func (d *Disk) raiseReserves(n int64) error {
	d.mu.Lock()
	was := d.largest
	d.largest = max(was, n)
	d.mu.Unlock()
	if n <= was {
		return nil
	}
	err := d.fillReserves()
	if err != nil {
		d.mu.Lock()
		d.largest = was
		d.mu.Unlock()
	}
	return err
}

// fillReserve lets one reserve grow to want bytes.
func (d *Disk) fillReserve(st *cursorState, want int64) error {
	r := &st.reserve
	d.hold(&r.turn)
	defer r.turn.Give()
	d.mu.Lock()
	size := r.size
	d.mu.Unlock()
	if size >= want {
		return nil
	}
	if r.file == nil {
		f, err := d.o.FS.Open(d.reservePath(st.name), os.O_RDWR|os.O_CREATE)
		if err != nil {
			return err
		}
		r.file = f
	}
	if err := r.file.Allocate(want); err != nil {
		return err
	}
	err := r.file.Sync(hydrant.PointReserve)
	if err == nil {
		err = hydrant.SyncDir(d.o.FS, d.cursorDir(), hydrant.PointReserve)
	}
	if err != nil {
		return err
	}
	d.setReserve(r, want)
	return nil
}

func (d *Disk) setReserve(r *reserve, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.size = size
}

// Lend implements Cursor.
func (c *cursor) Lend(n int64) error {
	r := &c.state.reserve
	c.d.hold(&r.turn)
	defer r.turn.Give()
	c.d.mu.Lock()
	left := r.size - n
	c.d.mu.Unlock()
	if left < 0 || r.file == nil {
		return fmt.Errorf("the space kept back for the spool: %d bytes are left, %d are needed", left+n, n)
	}
	// Known to be smaller before it is: the log must not grow into what is lent.
	c.d.setReserve(r, left)
	return r.file.Truncate(left)
}

// closeReserve closes the file; the space stays kept back.
func (d *Disk) closeReserve(st *cursorState) error {
	d.hold(&st.reserve.turn)
	defer st.reserve.turn.Give()
	f := st.reserve.file
	st.reserve.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}
