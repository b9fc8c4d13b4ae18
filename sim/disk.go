package sim

import (
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hydrantd/hydrant"
)

// Disk is the disk of one machine. What is written lies in the page cache until it is synced; what was not synced when
// the power is cut is kept, lost or torn, sector by sector and name by name.
type Disk struct {
	Capacity int64                 // bytes; 0 = endless
	Tenant   int64                 // bytes that somebody else has on it
	Faults   Faults                // how often calls fail
	Latency  time.Duration         // of a slow sync, at the most
	Syncs    map[hydrant.Point]int // how often each point was synced
	Cuts     int                   // power cuts

	w     *World
	root  *inode
	used  int64
	open  []*handle
	names int64
	dirty []*inode // files and directories with something unsynced
	moves []move   // renames that are not durable
}

// Faults says how many of a million calls fail.
type Faults struct {
	Read, Write, Sync, Meta int // EIO
	NoSpace                 int // ENOSPC, from calls that need space
	Writeback               int // not a fault: the kernel writes something back by itself
}

// move is a rename: at a power cut either of its halves may be lost, but the file does not vanish between the two.
type move struct {
	from, to         *inode
	oldName, newName string
	moved            *inode
}

// NewDisk makes an empty disk.
func (w *World) NewDisk() *Disk {
	return &Disk{w: w, root: &inode{dir: map[string]*inode{}}, Syncs: map[hydrant.Point]int{}, Faults: Faults{Writeback: 20_000}}
}

// Used is the number of bytes that files take.
func (d *Disk) Used() int64 { return d.used }

// PowerCut makes of the disk what a machine finds after the power came back.
func (d *Disk) PowerCut() {
	d.Cuts++
	for _, n := range d.dirty {
		n.settle(d.w.Rand)
	}
	for _, m := range d.moves {
		// The names were settled one by one. A rename is one transaction of the file system: never are both names gone.
		if m.to.dir[m.newName] != m.moved && m.from.dir[m.oldName] == nil && m.moved.links == 0 && m.moved.named {
			m.from.link(m.oldName, m.moved)
		}
	}
	for _, n := range d.dirty {
		n.listed = false
	}
	d.dirty, d.moves = d.dirty[:0], d.moves[:0]
	d.count()
}

// Clone copies the disk as it stands, page cache and all.
func (d *Disk) Clone() *Disk {
	c := d.w.NewDisk()
	c.Capacity, c.Faults, c.Latency = d.Capacity, d.Faults, d.Latency
	copies := map[*inode]*inode{}
	c.root = d.root.clone(copies)
	for _, n := range d.dirty {
		c.dirty = append(c.dirty, n.clone(copies))
	}
	for _, m := range d.moves {
		c.moves = append(c.moves, move{m.from.clone(copies), m.to.clone(copies), m.oldName, m.newName, m.moved.clone(copies)})
	}
	c.count()
	return c
}

// Flip changes one bit of a file on the disk, as a bad medium does. False: the file has no such byte.
func (d *Disk) Flip(name string, bit int64) bool {
	n, err := d.find(name)
	if err != nil || n.dir != nil || bit/8 >= n.size {
		return false
	}
	p := n.page(bit / 8 / pageSize)
	p.data[bit/8%pageSize] ^= 1 << (bit % 8)
	if p.old != nil {
		p.old[bit/8%pageSize] = p.data[bit/8%pageSize]
	}
	return true
}

// Mkdir makes a directory, durably: an operator's.
func (d *Disk) Mkdir(name string) {
	if dir, base, err := d.parent(name); err == nil && dir.dir[base] == nil {
		d.names++
		dir.link(base, &inode{id: d.names, dir: map[string]*inode{}})
	}
}

// Wipe removes everything below a directory, durably: an operator's rm -rf.
func (d *Disk) Wipe(name string) {
	if n, err := d.find(name); err == nil && n.dir != nil {
		n.dir, n.was = map[string]*inode{}, nil
	}
	d.count()
}

// Usage is the number of bytes that the files below a directory take.
func (d *Disk) Usage(name string) int64 {
	n, err := d.find(name)
	if err != nil {
		return 0
	}
	return n.usage()
}

// Files returns the paths of all files, in order.
func (d *Disk) Files() []string { return d.root.walk("", nil) }

// count adds up the space anew, and the links.
func (d *Disk) count() {
	d.used = 0
	seen := map[*inode]bool{}
	var visit func(n *inode)
	visit = func(n *inode) {
		n.links++
		if seen[n] {
			return
		}
		seen[n], n.links = true, 1
		n.blocks = max(n.blocks, (n.size+pageSize-1)/pageSize*pageSize)
		d.used += n.blocks
		for _, name := range n.names() {
			visit(n.dir[name])
		}
	}
	visit(d.root)
}

// closeAll forgets the open files of a process that was killed.
func (d *Disk) closeAll(p *Process) {
	d.open = slices.DeleteFunc(d.open, func(f *handle) bool {
		if f.p == p {
			f.closed = true
			d.release(f.ino)
		}
		return f.p == p
	})
}

// release gives the space of a file back that has neither a name nor a handle.
func (d *Disk) release(n *inode) {
	n.handles--
	if n.handles == 0 && n.links == 0 && n.dir == nil {
		d.used -= n.blocks
		n.blocks = 0
	}
}

// unlinked is called when a name was taken from a file.
func (d *Disk) unlinked(n *inode) {
	n.links--
	if n.handles == 0 && n.links == 0 && n.dir == nil {
		d.used -= n.blocks
		n.blocks = 0
	}
}

// take finds room for n more bytes.
func (d *Disk) take(n int64) error {
	if n > 0 && (d.w.chance(d.Faults.NoSpace) || d.Capacity > 0 && d.used+d.Tenant+n > d.Capacity) {
		return syscall.ENOSPC
	}
	d.used += n
	return nil
}

// manyNames is how many unsynced names a directory has before the kernel writes some of them.
const manyNames = 64

// touched puts a file or directory onto the list of those with something unsynced.
func (d *Disk) touched(n *inode) {
	if !n.listed {
		n.listed = true
		d.dirty = append(d.dirty, n)
	}
	if len(n.was) > manyNames {
		n.writeback(d.w.Rand)
	}
	if d.w.chance(d.Faults.Writeback) {
		d.dirty[d.w.Rand.IntN(len(d.dirty))].writeback(d.w.Rand)
	}
}

func (d *Disk) settled(n *inode) {
	if n.listed && !n.unsynced() {
		n.listed = false
		d.dirty = slices.DeleteFunc(d.dirty, func(o *inode) bool { return o == n })
	}
	if n.dir != nil && len(d.moves) > 0 {
		d.moves = slices.DeleteFunc(d.moves, func(m move) bool { return m.to == n && !n.changed(m.newName) })
	}
}

func (d *Disk) find(name string) (*inode, error) {
	n := d.root
	for part := range strings.SplitSeq(path.Clean("/"+name), "/") {
		if part == "" {
			continue
		}
		if n.dir == nil {
			return nil, syscall.ENOTDIR
		}
		if n = n.dir[part]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

func (d *Disk) parent(name string) (*inode, string, error) {
	name = path.Clean("/" + name)
	n, err := d.find(path.Dir(name))
	if err == nil && n.dir == nil {
		err = syscall.ENOTDIR
	}
	return n, path.Base(name), err
}
