package sim

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/hydrantd/hydrant"
)

// mount is the disk as one process sees it.
type mount struct {
	d *Disk
	p *Process
}

// FS is the disk as a process sees it; the calls of a killed process never reach it.
func (d *Disk) FS(p *Process) hydrant.FS { return mount{d, p} }

// call is the beginning of every call: a yield point at which the call may fail.
func (m mount) call(op, name string, x, y int64, faults int) error {
	m.p.enter(op, name, x, y)
	if m.d.w.chance(faults) {
		m.d.w.note("eio", name, 0, 0)
		return &fs.PathError{Op: op, Path: name, Err: syscall.EIO}
	}
	return nil
}

func at(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open implements hydrant.FS.
func (m mount) Open(name string, flag int) (hydrant.File, error) {
	if err := m.call("open", name, int64(flag), 0, m.d.Faults.Meta); err != nil {
		return nil, err
	}
	n, err := m.d.find(name)
	switch {
	case errors.Is(err, syscall.ENOENT) && flag&syscall.O_CREAT != 0:
		dir, base, err := m.d.parent(name)
		if err == nil {
			err = m.d.take(0)
		}
		if err == nil && m.d.w.chance(m.d.Faults.NoSpace) {
			err = syscall.ENOSPC
		}
		if err != nil {
			return nil, at("open", name, err)
		}
		m.d.names++
		n = &inode{id: m.d.names}
		dir.change(base)
		dir.link(base, n)
		m.d.touched(dir)
	case err != nil:
		return nil, at("open", name, err)
	case flag&syscall.O_CREAT != 0 && flag&syscall.O_EXCL != 0:
		return nil, at("open", name, syscall.EEXIST)
	case n.dir != nil && flag&(syscall.O_WRONLY|syscall.O_RDWR) != 0:
		return nil, at("open", name, syscall.EISDIR)
	}
	f := &handle{mount: m, ino: n, name: name, writes: flag&(syscall.O_WRONLY|syscall.O_RDWR) != 0}
	n.handles++
	m.d.open = append(m.d.open, f)
	if flag&syscall.O_TRUNC != 0 && f.writes {
		f.resize(0)
	}
	return f, nil
}

// Rename implements hydrant.FS.
func (m mount) Rename(old, new string) error {
	if err := m.call("rename", old+" "+new, 0, 0, m.d.Faults.Meta); err != nil {
		return err
	}
	from, oldName, err := m.d.parent(old)
	if err != nil {
		return at("rename", old, err)
	}
	to, newName, err := m.d.parent(new)
	if err != nil {
		return at("rename", new, err)
	}
	n := from.dir[oldName]
	there := to.dir[newName]
	switch {
	case n == nil:
		return at("rename", old, syscall.ENOENT)
	case n == there:
		return nil
	case there != nil && there.dir != nil && (n.dir == nil || len(there.dir) > 0):
		return at("rename", new, syscall.EEXIST)
	case m.d.w.chance(m.d.Faults.NoSpace):
		return at("rename", new, syscall.ENOSPC)
	}
	m.d.moves = append(m.d.moves, move{from, to, oldName, newName, n})
	n.named = from.durable(oldName) == n || n.named
	from.change(oldName)
	to.change(newName)
	if there != nil {
		delete(to.dir, newName)
		m.d.unlinked(there)
	}
	to.link(newName, n)
	delete(from.dir, oldName)
	n.links--
	m.d.touched(from)
	m.d.touched(to)
	return nil
}

// Remove implements hydrant.FS.
func (m mount) Remove(name string) error {
	if err := m.call("remove", name, 0, 0, m.d.Faults.Meta); err != nil {
		return err
	}
	dir, base, err := m.d.parent(name)
	if err != nil {
		return at("remove", name, err)
	}
	n := dir.dir[base]
	if n == nil {
		return at("remove", name, syscall.ENOENT)
	}
	if len(n.dir) > 0 {
		return at("remove", name, syscall.ENOTEMPTY)
	}
	dir.change(base)
	delete(dir.dir, base)
	m.d.unlinked(n)
	m.d.touched(dir)
	return nil
}

// MkdirAll implements hydrant.FS: like hydrant.OS it syncs the parent of each directory it makes.
func (m mount) MkdirAll(name string) error {
	if err := m.call("mkdir", name, 0, 0, m.d.Faults.Meta); err != nil {
		return err
	}
	n, err := m.d.find(name)
	if err == nil {
		if n.dir == nil {
			return at("mkdir", name, syscall.ENOTDIR)
		}
		return nil
	}
	if !errors.Is(err, syscall.ENOENT) {
		return at("mkdir", name, err)
	}
	up := path.Dir(path.Clean("/" + name))
	if err := m.MkdirAll(up); err != nil {
		return err
	}
	dir, base, err := m.d.parent(name)
	if err != nil {
		return at("mkdir", name, err)
	}
	if m.d.w.chance(m.d.Faults.NoSpace) {
		return at("mkdir", name, syscall.ENOSPC)
	}
	if dir.dir[base] == nil {
		m.d.names++
		dir.change(base)
		dir.link(base, &inode{id: m.d.names, dir: map[string]*inode{}})
		m.d.touched(dir)
	}
	return hydrant.SyncDir(m, up, hydrant.PointMkdir)
}

// ReadDir implements hydrant.FS.
func (m mount) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := m.call("readdir", name, 0, 0, m.d.Faults.Meta); err != nil {
		return nil, err
	}
	n, err := m.d.find(name)
	if err == nil && n.dir == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, at("readdir", name, err)
	}
	var all []fs.DirEntry
	for _, base := range n.names() {
		all = append(all, fs.FileInfoToDirEntry(info{base, n.dir[base]}))
	}
	return all, nil
}

type info struct {
	name string
	n    *inode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.n.size }
func (i info) IsDir() bool        { return i.n.dir != nil }
func (i info) ModTime() time.Time { return epoch }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.IsDir() {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

// handle is an open file.
type handle struct {
	mount
	ino    *inode
	name   string
	writes bool
	closed bool
}

func (f *handle) check(op string, write bool) error {
	switch {
	case f.closed:
		return at(op, f.name, fs.ErrClosed)
	case write && !f.writes:
		return at(op, f.name, syscall.EBADF)
	case f.ino.dir != nil && op != "sync":
		return at(op, f.name, syscall.EISDIR)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *handle) ReadAt(b []byte, off int64) (int, error) {
	err := f.call("read", "", off, int64(len(b))<<20|f.ino.id, f.d.Faults.Read)
	if err = cmp.Or(err, f.check("read", false)); err != nil {
		return 0, err
	}
	n := max(0, min(int64(len(b)), f.ino.size-off))
	f.ino.read(b[:n], off)
	if n < int64(len(b)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteAt implements io.WriterAt. When it fails, a part may have been written.
func (f *handle) WriteAt(b []byte, off int64) (int, error) {
	err := f.call("write", "", off, int64(crc32.Checksum(b, castagnoli))<<24|f.ino.id, f.d.Faults.Write)
	if checked := f.check("write", true); checked != nil {
		return 0, checked
	}
	if err == nil {
		if err = f.room(off + int64(len(b))); err == nil {
			f.write(b, off)
			return len(b), nil
		}
	}
	part := int64(f.d.w.Rand.IntN(len(b) + 1))
	if part = max(0, min(part, f.ino.blocks-off)); part > 0 {
		f.write(b[:part], off)
	}
	return int(part), err
}

func (f *handle) write(b []byte, off int64) {
	f.ino.change("")
	f.ino.write(b, off)
	f.d.touched(f.ino)
}

// room gives the file blocks up to a size.
func (f *handle) room(size int64) error {
	size = (size + pageSize - 1) / pageSize * pageSize
	if size <= f.ino.blocks {
		return nil
	}
	if err := f.d.take(size - f.ino.blocks); err != nil {
		return at("write", f.name, err)
	}
	f.ino.blocks = size
	return nil
}

// Allocate implements hydrant.Blocks.
func (f *handle) Allocate(size int64) error {
	err := f.call("allocate", "", size, f.ino.id, f.d.Faults.Meta)
	if err = cmp.Or(err, f.check("allocate", true)); err != nil {
		return err
	}
	if err := f.room(size); err != nil {
		return err
	}
	if size > f.ino.size {
		f.ino.change("")
		f.ino.size = size
		f.d.touched(f.ino)
	}
	return nil
}

// Truncate implements hydrant.Blocks.
func (f *handle) Truncate(size int64) error {
	err := f.call("truncate", "", size, f.ino.id, f.d.Faults.Meta)
	if err = cmp.Or(err, f.check("truncate", true)); err != nil {
		return err
	}
	f.resize(size)
	return nil
}

func (f *handle) resize(size int64) {
	f.ino.change("")
	f.ino.truncate(size)
	if blocks := (size + pageSize - 1) / pageSize * pageSize; blocks < f.ino.blocks {
		f.d.used -= f.ino.blocks - blocks
		f.ino.blocks = blocks
	}
	f.d.touched(f.ino)
}

// Size implements hydrant.Blocks.
func (f *handle) Size() (int64, error) {
	err := f.call("size", "", 0, f.ino.id, f.d.Faults.Meta)
	if err = cmp.Or(err, f.check("size", false)); err != nil {
		return 0, err
	}
	return f.ino.size, nil
}

// Sync implements hydrant.Blocks. It is where planned power cuts happen.
func (f *handle) Sync(p hydrant.Point) error {
	f.p.enter("sync", string(p), f.ino.id, 0)
	if err := f.check("sync", false); err != nil {
		return err
	}
	f.d.Syncs[p]++
	plan := f.p.plan(p)
	if plan != nil && !plan.After {
		f.p.cut(plan)
	}
	err := f.sync(p)
	if plan != nil && plan.After {
		f.p.cut(plan)
	}
	if f.d.Latency > 0 && f.d.w.chance(100_000) {
		f.p.Sleep(f.d.w.between(0, f.d.Latency))
	}
	f.d.w.note("synced", "", f.ino.id, result(err))
	return err
}

func (f *handle) sync(p hydrant.Point) error {
	if hydrant.Sabotaged(p) {
		return nil
	}
	if f.d.w.chance(f.d.Faults.Sync) {
		f.ino.fail(f.d.w.Rand)
		f.d.settled(f.ino)
		return at("sync", f.name, syscall.EIO)
	}
	f.ino.sync()
	f.d.settled(f.ino)
	return nil
}

// Close implements io.Closer.
func (f *handle) Close() error {
	f.p.enter("close", "", f.ino.id, 0)
	if f.closed {
		return at("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	f.d.open = slices.DeleteFunc(f.d.open, func(o *handle) bool { return o == f })
	f.d.release(f.ino)
	return nil
}

func (f *handle) String() string { return fmt.Sprintf("%s (inode %d)", f.name, f.ino.id) }
