package sim

import (
	"math/rand/v2"
	"slices"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// inode is a file or a directory: as the running system sees it, and beside that what the disk had of it at the last sync.
type inode struct {
	id      int64
	links   int  // names
	handles int  // open files
	listed  bool // in Disk.dirty
	named   bool // had a durable name before an unsynced rename
	ghosts  bool // some page has a ghost

	dir map[string]*inode // of a directory; nil for a file
	was []entry           // entries that changed since the last sync, as they were before

	pages  []*page // nil reads as zeros
	dirty  []int64 // indices of pages with unsynced sectors, in the order of the first write
	size   int64
	synced int64 // the size on the disk
	grown  bool  // size is unsynced
	blocks int64 // bytes of space taken
}

type entry struct {
	name  string
	n     *inode // nil: there was no such name
	ghost bool   // a failed sync dropped the change: it will be gone after a power cut
}

// page is 8 sectors, with a bit for each.
type page struct {
	data  [pageSize]byte
	old   *[pageSize]byte // what the disk has, for the sectors of dirty and ghost
	dirty uint8           // written and not synced
	ghost uint8           // a failed sync dropped it: it reads as written and will be gone after a power cut
}

func (n *inode) names() []string {
	all := make([]string, 0, len(n.dir))
	for name := range n.dir {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func (n *inode) walk(prefix string, to []string) []string {
	for _, name := range n.names() {
		child := n.dir[name]
		if child.dir != nil {
			to = child.walk(prefix+"/"+name, to)
		} else {
			to = append(to, prefix+"/"+name)
		}
	}
	return to
}

func (n *inode) usage() int64 {
	sum := n.blocks
	for _, child := range n.dir {
		sum += child.usage()
	}
	return sum
}

// change remembers, before the first change since the last sync, what the disk has: of an entry, or of the size of a file.
func (n *inode) change(name string) {
	if n.dir == nil {
		if !n.grown {
			n.grown, n.synced = true, n.size
		}
		return
	}
	for i := range n.was {
		if n.was[i].name == name {
			n.was[i].ghost = false
			return
		}
	}
	n.was = append(n.was, entry{name: name, n: n.dir[name]})
}

func (n *inode) changed(name string) bool {
	return slices.ContainsFunc(n.was, func(e entry) bool { return e.name == name })
}

// durable is what the disk has under a name.
func (n *inode) durable(name string) *inode {
	for _, e := range n.was {
		if e.name == name {
			return e.n
		}
	}
	return n.dir[name]
}

func (n *inode) link(name string, to *inode) {
	n.dir[name] = to
	to.links++
}

func (n *inode) unsynced() bool { return len(n.was) > 0 || n.grown || len(n.dirty) > 0 || n.ghosts }

func (n *inode) page(i int64) *page {
	for int64(len(n.pages)) <= i {
		n.pages = append(n.pages, nil)
	}
	if n.pages[i] == nil {
		n.pages[i] = new(page)
	}
	return n.pages[i]
}

func (n *inode) read(b []byte, off int64) {
	for len(b) > 0 {
		i, o := off/pageSize, off%pageSize
		m := min(len(b), int(pageSize-o))
		if i < int64(len(n.pages)) && n.pages[i] != nil {
			copy(b[:m], n.pages[i].data[o:])
		} else {
			clear(b[:m])
		}
		b, off = b[m:], off+int64(m)
	}
}

func (n *inode) write(b []byte, off int64) {
	n.size = max(n.size, off+int64(len(b)))
	for len(b) > 0 {
		i, o := off/pageSize, off%pageSize
		m := min(len(b), int(pageSize-o))
		p := n.page(i)
		n.soil(p, i, o, o+int64(m))
		copy(p.data[o:], b[:m])
		b, off = b[m:], off+int64(m)
	}
}

// soil marks the sectors of a page from byte lo to byte hi dirty, and keeps what the disk has of them.
func (n *inode) soil(p *page, i, lo, hi int64) {
	if p.old == nil {
		p.old = new([pageSize]byte)
	}
	if p.dirty == 0 {
		n.dirty = append(n.dirty, i)
	}
	for s := lo / sectorSize; s*sectorSize < hi; s++ {
		if bit := uint8(1) << s; (p.dirty|p.ghost)&bit == 0 {
			copy(p.sector(p.old, s), p.sector(&p.data, s))
		}
		p.dirty |= 1 << s
		p.ghost &^= 1 << s
	}
}

func (p *page) sector(of *[pageSize]byte, s int64) []byte {
	return of[s*sectorSize : (s+1)*sectorSize]
}

// truncate sets the size; bytes behind it are gone and read as zeros if the file grows again.
func (n *inode) truncate(size int64) {
	for i := size / pageSize; i < int64(len(n.pages)); i++ {
		p := n.pages[i]
		if p == nil {
			continue
		}
		from := max(0, size-i*pageSize)
		if from < pageSize {
			n.soil(p, i, from, pageSize)
			clear(p.data[from:])
		}
	}
	n.size = size
}

// sync makes everything durable, except what an earlier failed sync has dropped.
func (n *inode) sync() {
	for _, i := range n.dirty {
		n.pages[i].clean(0xff)
	}
	n.dirty = n.dirty[:0]
	n.was = slices.DeleteFunc(n.was, func(e entry) bool { return !e.ghost })
	n.grown = false
}

// clean makes the dirty ones of some sectors durable.
func (p *page) clean(bits uint8) {
	p.dirty &^= bits
	if p.dirty|p.ghost == 0 {
		p.old = nil
	}
}

// fail is a sync that failed: what was dirty is clean now, whether the disk has it or not. The next sync succeeds.
func (n *inode) fail(r *rand.Rand) {
	for _, i := range n.dirty {
		p := n.pages[i]
		for s := range int64(8) {
			bit := uint8(1) << s
			if p.dirty&bit == 0 {
				continue
			}
			switch r.IntN(3) {
			case 0: // it was written all the same
			case 1: // dropped from the cache: reads see what the disk has
				copy(p.sector(&p.data, s), p.sector(p.old, s))
			case 2: // still in the cache, as if it were clean
				p.ghost |= bit
				n.ghosts = true
			}
		}
		p.clean(0xff)
	}
	n.dirty = n.dirty[:0]
	for i := range n.was {
		n.was[i].ghost = r.IntN(2) == 0
	}
	n.was = slices.DeleteFunc(n.was, func(e entry) bool { return !e.ghost })
}

// writeback is the kernel writing something of it back by itself.
func (n *inode) writeback(r *rand.Rand) {
	n.dirty = slices.DeleteFunc(n.dirty, func(i int64) bool {
		n.pages[i].clean(uint8(r.Uint64()))
		return n.pages[i].dirty == 0
	})
	n.was = slices.DeleteFunc(n.was, func(e entry) bool { return !e.ghost && r.IntN(2) == 0 })
	if r.IntN(2) == 0 {
		n.grown = false
	}
}

// settle decides at a power cut what the disk has of everything unsynced.
func (n *inode) settle(r *rand.Rand) {
	for _, i := range n.dirty {
		p := n.pages[i]
		for s := range int64(8) {
			if p.dirty&(1<<s) == 0 {
				continue
			}
			is, was := p.sector(&p.data, s), p.sector(p.old, s)
			switch r.IntN(8) {
			case 0, 1, 2: // kept
			case 3, 4, 5: // lost
				copy(is, was)
			case 6: // torn in two
				at := r.IntN(sectorSize)
				copy(is[at:], was[at:])
			case 7: // torn in pieces
				for at := 0; at < sectorSize; at += 64 {
					if r.IntN(2) == 0 {
						copy(is[at:at+64], was[at:at+64])
					}
				}
			}
		}
		p.dirty = 0
	}
	n.dirty = n.dirty[:0]
	for _, p := range n.pages {
		if p == nil || p.old == nil {
			continue
		}
		for s := range int64(8) {
			if p.ghost&(1<<s) != 0 {
				copy(p.sector(&p.data, s), p.sector(p.old, s))
			}
		}
		p.ghost, p.old = 0, nil
	}
	n.ghosts = false
	n.settleNames(r)
	if n.grown && n.dir == nil {
		switch lo, hi := min(n.size, n.synced), max(n.size, n.synced); r.IntN(3) {
		case 0:
			n.resettle(n.synced)
		case 1:
			n.resettle(lo + r.Int64N(hi-lo+1))
		}
		n.blocks = (n.size + pageSize - 1) / pageSize * pageSize // what was allocated and is not its length now is free again
	}
	n.grown = false
}

// settleNames decides for every unsynced name of a directory whether its change is lost.
func (n *inode) settleNames(r *rand.Rand) {
	for _, e := range n.was {
		if !e.ghost && r.IntN(2) == 0 {
			continue
		}
		if is := n.dir[e.name]; is != nil {
			is.links--
			delete(n.dir, e.name)
		}
		if e.n != nil {
			n.link(e.name, e.n)
		}
	}
	n.was = n.was[:0]
}

// resettle gives a file the size that the disk has; what lay behind it is zeros, at once and durably.
func (n *inode) resettle(size int64) {
	for i := size / pageSize; i < int64(len(n.pages)); i++ {
		if p := n.pages[i]; p != nil {
			from := max(0, size-i*pageSize)
			if from < pageSize {
				clear(p.data[from:])
			}
		}
	}
	n.size = size
}

// clone copies a file or directory and everything below it.
func (n *inode) clone(done map[*inode]*inode) *inode {
	if n == nil {
		return nil
	}
	if c := done[n]; c != nil {
		return c
	}
	c := &inode{id: n.id, listed: n.listed, named: n.named, ghosts: n.ghosts, size: n.size, synced: n.synced, grown: n.grown, blocks: n.blocks}
	done[n] = c
	if n.dir != nil {
		c.dir = map[string]*inode{}
		for name, child := range n.dir {
			c.dir[name] = child.clone(done)
		}
	}
	for _, e := range n.was {
		c.was = append(c.was, entry{e.name, e.n.clone(done), e.ghost})
	}
	c.dirty = slices.Clone(n.dirty)
	c.pages = make([]*page, len(n.pages))
	for i, p := range n.pages {
		if p != nil {
			q := *p
			if p.old != nil {
				old := *p.old
				q.old = &old
			}
			c.pages[i] = &q
		}
	}
	return c
}
