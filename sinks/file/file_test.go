package file

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/object"
	"github.com/hydrantd/hydrant/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faultyFS is the machine's file system with calls that fail, and a list of those that matter for durability.
type faultyFS struct {
	hydrant.OS
	mu    sync.Mutex
	fail  func(call, name string) error // nil error: go on
	after func(call, name string) error // the call is carried out, and this is its answer
	calls []string
}

func (f *faultyFS) check(call, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call+" "+filepath.Base(name))
	if f.fail == nil {
		return nil
	}
	return f.fail(call, name)
}

func (f *faultyFS) done(call, name string, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.after != nil {
		return f.after(call, name)
	}
	return err
}

func (f *faultyFS) Open(name string, flag int) (hydrant.File, error) {
	if err := f.check("open", name); err != nil {
		return nil, err
	}
	file, err := f.OS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return faultyFile{file, f, name}, nil
}

func (f *faultyFS) Rename(old, new string) error {
	if err := f.check("rename", new); err != nil {
		return err
	}
	return f.done("rename", new, f.OS.Rename(old, new))
}

func (f *faultyFS) MkdirAll(name string) error {
	if err := f.check("mkdir", name); err != nil {
		return err
	}
	return f.OS.MkdirAll(name)
}

type faultyFile struct {
	hydrant.File
	fs   *faultyFS
	name string
}

func (f faultyFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.fs.check("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, at)
}

func (f faultyFile) Allocate(size int64) error {
	if err := f.fs.check("allocate", f.name); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f faultyFile) Sync(p hydrant.Point) error {
	if err := f.fs.check("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync(p)
}

func mustOpen(t *testing.T, fsys hydrant.FS, path string) *folder {
	t.Helper()
	s, err := open(Config{Path: config.Path(path), Layout: object.Defaults()}, deps(fsys))
	if err != nil {
		t.Fatal(err)
	}
	return s.(*folder)
}

func deps(fsys hydrant.FS) sinks.Deps {
	return sinks.Deps{
		Pipeline: "app", Destination: "archive", FS: fsys, Clock: hydrant.NewSystemClock(), Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	}
}

// files are all files below dir, from it.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, err = filepath.Rel(dir, name)
			out = append(out, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

func TestContract(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		dir, fsys := t.TempDir(), &faultyFS{}
		return sinktest.Target{
			Open: func() (sinks.Sink, error) {
				return open(Config{Path: config.Path(filepath.Join(dir, "out")), Layout: object.Defaults()}, deps(fsys))
			},
			Read: func() ([]string, error) {
				var records []string
				for _, name := range files(t, dir) {
					b, err := os.ReadFile(filepath.Join(dir, name))
					if err != nil {
						return nil, err
					}
					z, err := gzip.NewReader(bytes.NewReader(b))
					if err != nil {
						return nil, err
					}
					text, err := io.ReadAll(z)
					if err != nil {
						return nil, err
					}
					records = append(records, strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })...)
				}
				return records, nil
			},
			Swallow: func() {
				fsys.after = func(call, _ string) error {
					if call == "rename" {
						fsys.after = nil
						return syscall.EIO
					}
					return nil
				}
			},
		}
	})
}

var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// parcel is a Ready batch of one file.
func parcel(target, name, text string) *sinks.Shipment {
	s := sinks.NewShipment(sinks.Batch{Pipeline: "app", Destination: "archive", From: 1}, func(hydrant.Position, uint32, *sinks.Refusal, bool) {})
	s.To, s.Attempt = 2, 1
	s.Outputs = []sinks.Output{{File: "object", Target: target, Name: name, Size: int64(len(text)), CRC: crc32.Checksum([]byte(text), castagnoliTable)}}
	s.Open = func(sinks.Output) (sinks.Content, error) { return content{strings.NewReader(text)}, nil }
	return s
}

type content struct{ *strings.Reader }

func (content) Close() error { return nil }

func TestBytesAreDurableBeforeTheyHaveTheirName(t *testing.T) {
	dir, fsys := t.TempDir(), &faultyFS{}
	target := filepath.Join(dir, "out")
	s := mustOpen(t, fsys, target)
	if err := s.Ship(context.Background(), parcel(target, "2026/11/x", "text")); err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, c := range fsys.calls {
		if !strings.HasPrefix(c, "open") {
			if i := strings.Index(c, " .hydrant-"); i >= 0 {
				c = c[:i] + " TEMPORARY"
			}
			steps = append(steps, c)
		}
	}
	want := []string{"mkdir 11", "sync 2026", "sync out"}
	for above := dir; ; above = filepath.Dir(above) {
		want = append(want, "sync "+filepath.Base(above))
		if above == filepath.Dir(above) {
			break
		}
	}
	want = append(want, "allocate TEMPORARY", "write TEMPORARY", "sync TEMPORARY", "rename x", "sync 11")
	if !slices.Equal(steps, want) {
		t.Errorf("%q, want %q", steps, want)
	}
}

func TestTheWayToTheTargetIsSyncedOnceAndItsOwnFoldersEach(t *testing.T) {
	dir, fsys := t.TempDir(), &faultyFS{}
	s := mustOpen(t, fsys, dir)
	syncs := func(name string) (n int) {
		fsys.calls = nil
		if err := s.Ship(context.Background(), parcel(dir, name, "text")); err != nil {
			t.Fatal(err)
		}
		for _, c := range fsys.calls {
			if strings.HasPrefix(c, "sync ") {
				n++
			}
		}
		return n
	}
	if first, second, third := syncs("a/x"), syncs("b/x"), syncs("b/y"); first <= 3 || second != 3 || third != 2 {
		t.Errorf("%d, %d and %d syncs, want the whole way; the target, the file and its folder; the file and its folder", first, second, third)
	}
}

func TestAFolderAboveTheTargetThatWeMayNotOpenIsNotOurs(t *testing.T) {
	dir, fsys := t.TempDir(), &faultyFS{}
	fsys.fail = func(call, name string) error {
		if call == "open" && name == filepath.Dir(dir) {
			return syscall.EACCES
		}
		return nil
	}
	if err := mustOpen(t, fsys, dir).Ship(context.Background(), parcel(dir, "x", "text")); err != nil {
		t.Error(err)
	}
}

func TestFailuresAndTheirRemedies(t *testing.T) {
	for _, c := range []struct {
		call   string
		err    error
		remedy string // "": transient
		unsent bool
	}{
		{"allocate", syscall.ENOSPC, "free space", true},
		{"write", syscall.EDQUOT, "free space", true},
		{"mkdir", syscall.EACCES, "write to", true},
		{"mkdir", syscall.EROFS, "writable", true},
		{"mkdir", syscall.ENOTDIR, "in the way", true},
		{"rename", syscall.EISDIR, "in the way", false},
		{"rename", syscall.ENAMETOOLONG, "shorten", false},
		{"write", syscall.EIO, "", true},
		{"rename", syscall.EIO, "", false},
		{"sync", syscall.EIO, "", true},
	} {
		t.Run(c.call+" "+c.err.Error(), func(t *testing.T) {
			dir, fsys := t.TempDir(), &faultyFS{}
			failed := false
			fsys.fail = func(call, _ string) error {
				if call == c.call && !failed {
					failed = true
					return &fs.PathError{Op: call, Path: "x", Err: c.err}
				}
				return nil
			}
			s := mustOpen(t, fsys, dir)
			p := parcel(dir, "sub/x", "text")
			err := s.Ship(context.Background(), p)
			if !errors.Is(err, c.err) {
				t.Fatalf("ship: %v", err)
			}
			o, isOperators := errors.AsType[*sinks.OperatorError](err)
			if isOperators != (c.remedy != "") || isOperators && !strings.Contains(o.Remedy, c.remedy) {
				t.Errorf("%v, remedy %v, want %q", err, o, c.remedy)
			}
			if sinks.IsUnsent(err) != c.unsent {
				t.Errorf("unsent is %t, want %t", !c.unsent, c.unsent)
			}
			if got := files(t, dir); len(got) != 0 {
				t.Errorf("left behind: %q", got)
			}
			p.Attempt++
			if err := s.Ship(context.Background(), p); err != nil {
				t.Errorf("second attempt: %v", err)
			}
			if got := files(t, dir); !slices.Equal(got, []string{"sub/x"}) {
				t.Errorf("there are %q", got)
			}
		})
	}
}

// A second sync of what a failed one dropped proves nothing: the name has to be given anew (I7).
func TestAfterAFailedSyncOfTheFolderTheFileIsMadeAgain(t *testing.T) {
	dir, fsys := t.TempDir(), &faultyFS{}
	s := mustOpen(t, fsys, dir)
	p := parcel(dir, "x", "text")
	renamed := false
	fsys.fail = func(call, name string) error {
		renamed = renamed || call == "rename"
		if call == "sync" && renamed && name == dir {
			fsys.fail = nil
			return syscall.EIO
		}
		return nil
	}
	if err := s.Ship(context.Background(), p); !errors.Is(err, syscall.EIO) {
		t.Fatalf("ship: %v", err)
	}
	for _, again := range []struct {
		in      string
		sink    sinks.Sink
		attempt int
	}{
		{"the same process", s, 2},
		{"another process, which knows of no failure", mustOpen(t, fsys, dir), 1},
	} {
		fsys.calls = nil
		p.Attempt, p.Resent = again.attempt, true
		if err := again.sink.Ship(context.Background(), p); err != nil {
			t.Fatalf("in %s: %v", again.in, err)
		}
		if !slices.Contains(fsys.calls, "rename x") {
			t.Errorf("in %s: calls %q, want a rename", again.in, fsys.calls)
		}
	}
}

func TestAFolderWhoseNameCouldNotBeSyncedIsMadeAgain(t *testing.T) {
	dir, fsys := t.TempDir(), &faultyFS{}
	s := mustOpen(t, fsys, dir)
	p := parcel(dir, "a/b/x", "text")
	fsys.fail = func(call, name string) error {
		if call == "sync" && name == dir {
			fsys.fail = nil
			return syscall.EIO
		}
		return nil
	}
	if err := s.Ship(context.Background(), p); !errors.Is(err, syscall.EIO) {
		t.Fatalf("ship: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	p.Attempt++
	if err := s.Ship(context.Background(), p); err != nil {
		t.Error(err)
	}
}

func TestABatchForAFolderThatIsNoLongerConfigured(t *testing.T) {
	const want = "spooled for folder OLD, which is no longer configured: create it (or allow access to it), or stop hydrant and run " +
		"`hydrant buffer forget DATA_DIR app/archive`, after which the destination starts at the oldest record kept"
	for name, c := range map[string]struct {
		mkdir  error
		remedy string // before want
	}{
		"which may not be written": {syscall.EACCES, "let the user that hydrant runs as write to OLD; "},
		"which is read-only":       {syscall.EROFS, "make the file system of OLD writable; "},
		"which holds other bytes":  {nil, "move OLD/sub/x away"},
	} {
		t.Run(name, func(t *testing.T) {
			old, fsys := t.TempDir(), &faultyFS{}
			fsys.fail = func(call, name string) error {
				if call != "mkdir" || c.mkdir == nil {
					return nil
				}
				return &fs.PathError{Op: call, Path: name, Err: c.mkdir}
			}
			if c.mkdir == nil {
				if err := errors.Join(os.Mkdir(filepath.Join(old, "sub"), 0o700), os.WriteFile(filepath.Join(old, "sub", "x"), []byte("foreign"), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			for configured, moved := range map[string]bool{t.TempDir(): true, old: false} {
				err := mustOpen(t, fsys, configured).Ship(context.Background(), parcel(old, "sub/x", "text"))
				o, ok := errors.AsType[*sinks.OperatorError](err)
				if !ok {
					t.Fatalf("%v is not the operator's", err)
				}
				said := strings.ReplaceAll(o.Remedy, old, "OLD")
				if !strings.HasPrefix(said+"; ", c.remedy) || strings.Contains(said, want) != moved {
					t.Errorf("remedy %q, want %q first, and %t that the batch is for another folder", said, c.remedy, moved)
				}
			}
		})
	}
}

func TestOtherBytesUnderTheNameAreTheOperators(t *testing.T) {
	for name, text := range map[string]string{"of another length": "foreign", "of the same length": "TEXT"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "x"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, hydrant.OS{}, dir)
			p := parcel(dir, "x", "text")
			for _, err := range []error{s.Ship(context.Background(), p), s.Resolve(context.Background(), p)} {
				if o, ok := errors.AsType[*sinks.OperatorError](err); !ok || !strings.Contains(o.Remedy, filepath.Join(dir, "x")) {
					t.Errorf("%v", err)
				}
			}
			if b, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(b) != text {
				t.Errorf("the file is %q now, %v", b, err)
			}
		})
	}
}

func TestASpooledFileThatIsDamagedGetsNoName(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, hydrant.OS{}, dir)
	p := parcel(dir, "x", "text")
	p.Open = func(sinks.Output) (sinks.Content, error) { return content{strings.NewReader("tExt")}, nil }
	if err := s.Ship(context.Background(), p); err == nil || !strings.Contains(err.Error(), "crc") {
		t.Errorf("ship: %v", err)
	}
	p.Open = func(sinks.Output) (sinks.Content, error) { return content{strings.NewReader("te")}, nil }
	if err := s.Ship(context.Background(), p); err == nil || !strings.Contains(err.Error(), "2 bytes, want 4") {
		t.Errorf("ship: %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

func TestStaleTemporariesOfThisDeliveryGo(t *testing.T) {
	dir := t.TempDir()
	stale := []string{".hydrant-app~archive~aaaa-00-1-00.tmp", ".hydrant-app~archive~bbbb-11-7-00.tmp"}
	foreign := []string{".hydrant-app~other~aaaa-00-1-00.tmp", ".hydrant-app-x~archive~a-0-1-0.tmp", "mine.tmp", "x.gz"}
	for _, name := range append(slices.Clone(stale), foreign...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, hydrant.OS{}, t.TempDir()) // the target is the batch's, not today's
	if err := s.Ship(context.Background(), parcel(dir, "y", "text")); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, dir), slices.Sorted(slices.Values(append(slices.Clone(foreign), "y"))); !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	late := filepath.Join(dir, stale[0]) // another daemon's, made while this one works
	if err := os.WriteFile(late, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Ship(context.Background(), parcel(dir, "z", "text")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(late); err != nil {
		t.Errorf("a later temporary file was swept: %v", err)
	}
}

func TestAFolderThatSomebodyRemovesIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, hydrant.OS{}, dir)
	if err := s.Ship(context.Background(), parcel(dir, "a/x", "text")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	p := parcel(dir, "a/y", "text")
	if err := s.Ship(context.Background(), p); err == nil {
		t.Error("shipped into a folder that is not there")
	}
	p.Attempt++
	if err := s.Ship(context.Background(), p); err != nil {
		t.Error(err)
	}
}

func TestLargeFilesAreCopiedWhole(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("0123456789abcdef", 100<<10)
	s := mustOpen(t, hydrant.OS{}, dir)
	if err := s.Ship(context.Background(), parcel(dir, "x", text)); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(b) != text {
		t.Errorf("%d bytes of %d, %v", len(b), len(text), err)
	}
}

func TestAnEmptyFileIsAFile(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, hydrant.OS{}, dir)
	if err := s.Ship(context.Background(), parcel(dir, "x", "")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || len(b) != 0 {
		t.Errorf("%q %v", b, err)
	}
}

func TestACancelledAttemptLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := mustOpen(t, hydrant.OS{}, dir)
	if err := s.Ship(ctx, parcel(dir, "x", "text")); !errors.Is(err, context.Canceled) {
		t.Errorf("ship: %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}
