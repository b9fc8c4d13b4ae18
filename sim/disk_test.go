package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/hydrantd/hydrant"
)

// tried runs f on fresh disks of many seeds and counts what it found: every outcome that can come must come.
func tried(t *testing.T, seeds int, f func(w *World, d *Disk, fsys hydrant.FS) string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(seeds) {
		w := New(seed)
		d := w.NewDisk()
		d.Faults = Faults{}
		seen[f(w, d, d.FS(w.Root()))]++
	}
	return seen
}

func outcomes(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, one := range want {
		if seen[one] == 0 {
			t.Errorf("%q never came: %v", one, seen)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("got %v, want only %q", seen, want)
	}
}

func put(t *testing.T, fsys hydrant.FS, name, data string, sync bool) {
	t.Helper()
	f, err := fsys.Open(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(data), 0); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(hydrant.PointBlock); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func get(fsys hydrant.FS, name string) string {
	f, err := fsys.Open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	if err != nil {
		return err.Error()
	}
	n, _ := f.Size()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err.Error()
	}
	return string(b)
}

func syncRoot(t *testing.T, fsys hydrant.FS) {
	t.Helper()
	if err := hydrant.SyncDir(fsys, "/", hydrant.PointSegmentDir); err != nil {
		t.Fatal(err)
	}
}

func TestAPowerCutLeaves(t *testing.T) {
	one, two := string(bytes.Repeat([]byte("1"), 512)), string(bytes.Repeat([]byte("2"), 512))
	for _, row := range []struct {
		name string
		f    func(d *Disk, fsys hydrant.FS)
		want []string // of /f and /g
	}{
		{"a synced file with a synced name whole", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
			syncRoot(t, fsys)
		}, []string{"1 -"}},
		{"a synced file without its name, perhaps", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
		}, []string{"1 -", "- -"}},
		{"a name with old, new, torn or no bytes", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", "", true)
			syncRoot(t, fsys)
			put(t, fsys, "/f", one, false)
		}, []string{"1 -", "mixed -", "zeros -", " -"}},
		{"a renamed file under one name or both", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
			syncRoot(t, fsys)
			_ = fsys.Rename("/f", "/g")
		}, []string{"1 -", "- 1", "1 1"}},
		{"the replaced file or the new one", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
			put(t, fsys, "/g", two, true)
			syncRoot(t, fsys)
			_ = fsys.Rename("/f", "/g")
		}, []string{"1 2", "- 1", "1 1"}},
		{"a removed file, perhaps", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
			syncRoot(t, fsys)
			_ = fsys.Remove("/f")
		}, []string{"1 -", "- -"}},
		{"nothing of a file whose removal is synced", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
			syncRoot(t, fsys)
			_ = fsys.Remove("/f")
			syncRoot(t, fsys)
		}, []string{"- -"}},
		{"all or nothing of a directory", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
			syncRoot(t, fsys)
			_ = fsys.MkdirAll("/d/e")
			put(t, fsys, "/d/e/g", two, true)
			_ = hydrant.SyncDir(fsys, "/d/e", hydrant.PointSpoolDir)
			_ = fsys.Rename("/d/e/g", "/g")
		}, []string{"1 -", "1 2"}},
		{"an unsynced write of a killed process, if a power cut follows", func(d *Disk, fsys hydrant.FS) {
			put(t, fsys, "/f", one, true)
			syncRoot(t, fsys)
			p := d.w.NewProcess("p", d, 0)
			put(t, d.FS(p), "/f", two, false)
			p.Kill(false)
			if get(fsys, "/f") != two {
				t.Error("a kill lost what was in the page cache")
			}
		}, []string{"1 -", "2 -", "mixed -"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			outcomes(t, tried(t, 300, func(w *World, d *Disk, fsys hydrant.FS) string {
				row.f(d, fsys)
				d.PowerCut()
				return sketch(get(fsys, "/f")) + " " + sketch(get(fsys, "/g"))
			}), row.want...)
		})
	}
}

// sketch says what a file holds: the digit that it is full of, zeros, or mixed.
func sketch(s string) string {
	if len(s) < 2 {
		return s
	}
	for _, c := range s {
		if c != rune(s[0]) {
			return "mixed"
		}
	}
	if s[0] == 0 {
		return "zeros"
	}
	return s[:1]
}

func TestAFailedSync(t *testing.T) {
	one, two := string(bytes.Repeat([]byte("1"), 512)), string(bytes.Repeat([]byte("2"), 512))
	seen := tried(t, 300, func(w *World, d *Disk, fsys hydrant.FS) string {
		put(t, fsys, "/f", one, true)
		syncRoot(t, fsys)
		put(t, fsys, "/f", two, false)
		f, _ := fsys.Open("/f", os.O_RDWR)
		d.Faults.Sync = 1_000_000
		if err := f.Sync(hydrant.PointBlock); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v, want EIO", err)
		}
		d.Faults.Sync = 0
		if err := f.Sync(hydrant.PointBlock); err != nil {
			t.Fatalf("the second sync: %v, want success", err)
		}
		before := sketch(get(fsys, "/f"))
		d.PowerCut()
		return before + " then " + sketch(get(fsys, "/f"))
	})
	outcomes(t, seen, "1 then 1", "2 then 2", "2 then 1")
}

func TestFullDisk(t *testing.T) {
	w := New(1)
	d := w.NewDisk()
	d.Faults, d.Capacity = Faults{}, 1<<20
	fsys := d.FS(w.Root())
	f, err := fsys.Open("/f", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(512 << 10); err != nil || d.Used() != 512<<10 {
		t.Fatalf("half the disk: %v, %d bytes used", err, d.Used())
	}
	if err := f.Allocate(2 << 20); !hydrant.NoSpace(err) || d.Used() != 512<<10 {
		t.Fatalf("twice the disk: %v, %d bytes used", err, d.Used())
	}
	d.Tenant = 512 << 10
	if _, err := f.WriteAt(make([]byte, 512<<10), 0); err != nil {
		t.Errorf("a write into allocated space: %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), 512<<10); !hydrant.NoSpace(err) {
		t.Errorf("a write behind it: %v, want no space", err)
	}
	if err := fsys.Remove("/f"); err != nil || d.Used() != 512<<10 {
		t.Errorf("removed while open: %v, %d bytes used, want them kept", err, d.Used())
	}
	if err := f.Close(); err != nil || d.Used() != 0 {
		t.Errorf("closed: %v, %d bytes used, want none", err, d.Used())
	}
}

func TestUntouchedSpaceIsFree(t *testing.T) {
	w := New(1)
	d := w.NewDisk()
	fsys := d.FS(w.Root())
	f, err := fsys.Open("/f", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		_ = f.Allocate(64 << 20)
		_ = f.Sync(hydrant.PointReserve)
		_ = f.Truncate(0)
	}); n > 1 {
		t.Errorf("64 MiB without a byte written cost %v allocations", n)
	}
}

func TestADiskAnswersAsPOSIX(t *testing.T) {
	w := New(1)
	d := w.NewDisk()
	d.Faults = Faults{}
	fsys := d.FS(w.Root())
	if err := fsys.MkdirAll("/a/b"); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, "/a/b/one", "1", false)
	put(t, fsys, "/a/two", "22", false)
	open := func(name string, flag int) error { _, err := fsys.Open(name, flag); return err }
	for _, row := range []struct {
		name string
		got  error
		want error
	}{
		{"opening what is not there", open("/a/three", os.O_RDWR), fs.ErrNotExist},
		{"making what is there, exclusively", open("/a/two", os.O_CREATE|os.O_EXCL|os.O_RDWR), fs.ErrExist},
		{"writing to a directory", open("/a", os.O_RDWR), syscall.EISDIR},
		{"opening below a file", open("/a/two/x", os.O_RDONLY), syscall.ENOTDIR},
		{"removing a full directory", fsys.Remove("/a/b"), syscall.ENOTEMPTY},
		{"removing what is not there", fsys.Remove("/a/three"), fs.ErrNotExist},
		{"renaming what is not there", fsys.Rename("/a/three", "/a/four"), fs.ErrNotExist},
		{"making a directory over a file", fsys.MkdirAll("/a/two"), syscall.ENOTDIR},
		{"making a directory that is there", fsys.MkdirAll("/a/b"), nil},
		{"renaming a directory", fsys.Rename("/a/b", "/a/c"), nil},
		{"opening below its new name", open("/a/c/one", os.O_RDONLY), nil},
	} {
		if !errors.Is(row.got, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, row.got, row.want)
		}
	}
	entries, err := fsys.ReadDir("/a")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, fmt.Sprint(e.Name(), e.IsDir()))
	}
	if want := []string{"ctrue", "twofalse"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// TestSyncedBytesSurvive writes at random places of a few files, syncs some of them and cuts the power: a byte is what it
// was at the last sync of its file, or one of the values written since.
func TestSyncedBytesSurvive(t *testing.T) {
	for seed := range uint64(40) {
		w := New(seed)
		d := w.NewDisk()
		fsys := d.FS(w.Root())
		const size = 3 * pageSize
		var may [size]map[byte]bool
		for i := range may {
			may[i] = map[byte]bool{0: true}
		}
		f, err := fsys.Open("/f", os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(size), f.Sync(hydrant.PointBlock)); err != nil {
			t.Fatal(err)
		}
		syncRoot(t, fsys)
		var is [size]byte
		for range 60 {
			switch w.Rand.IntN(8) {
			case 0:
				if err := f.Sync(hydrant.PointBlock); err != nil {
					t.Fatal(err)
				}
				for i := range may {
					may[i] = map[byte]bool{is[i]: true}
				}
			case 1:
				d.PowerCut()
				if _, err := f.ReadAt(is[:], 0); err != nil {
					t.Fatal(err)
				}
				for i := range may {
					if !may[i][is[i]] {
						t.Fatalf("seed %d: byte %d is %d, want one of %v", seed, i, is[i], may[i])
					}
					may[i] = map[byte]bool{is[i]: true}
				}
			default:
				b := bytes.Repeat([]byte{byte(w.Rand.IntN(255) + 1)}, 1+w.Rand.IntN(1500))
				off := w.Rand.IntN(size - len(b))
				if _, err := f.WriteAt(b, int64(off)); err != nil {
					t.Fatal(err)
				}
				copy(is[off:], b)
				for i := range b {
					may[off+i][b[i]] = true
				}
			}
		}
	}
}

// TestCloneIsAnotherDisk writes to a disk and its clone and finds neither's bytes in the other.
func TestCloneIsAnotherDisk(t *testing.T) {
	seen := tried(t, 100, func(w *World, d *Disk, fsys hydrant.FS) string {
		put(t, fsys, "/f", "1", true)
		syncRoot(t, fsys)
		put(t, fsys, "/f", "2", false)
		c := d.Clone()
		put(t, c.FS(w.Root()), "/f", "3", false)
		c.PowerCut()
		return get(fsys, "/f") + get(c.FS(w.Root()), "/f")
	})
	outcomes(t, seen, "21", "23")
}
