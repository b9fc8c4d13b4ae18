package delivery

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// spoolBuffer is what is collected before a write into the spool, in bytes.
const spoolBuffer = 128 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// spool holds the files of the batches on their way: Dir/<batch>/<file>.
type spool struct {
	fs   hydrant.FS
	dir  string
	lend func(n int64) error
}

// folder is the part of the spool that one batch writes. It is for one goroutine.
type folder struct {
	*spool
	path  string
	made  bool
	files []*spoolFile
	full  bool // the disk is: space was borrowed, the batch ends here
}

// make makes the spool's folder. A process may have died between making it, or the one it is in, and the sync of its name: what is
// there already is not durable for that.
func (s *spool) make() error {
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	parent := filepath.Dir(s.dir)
	for _, dir := range []string{parent, filepath.Dir(parent)} {
		if err := hydrant.SyncDir(s.fs, dir, hydrant.PointMkdir); err != nil {
			return err
		}
	}
	return nil
}

func (s *spool) path(batch uint64) string { return filepath.Join(s.dir, strconv.FormatUint(batch, 10)) }

func (s *spool) folder(batch uint64) *folder { return &folder{spool: s, path: s.path(batch)} }

// part is a folder as one encoder sees it: its files carry a prefix, so that the encoders of the error output do not
// collide with that of the records.
type part struct {
	*folder
	prefix string
}

// Create implements sinks.Spool.
func (p part) Create(name string) (io.WriteCloser, error) {
	w, err := p.create(p.prefix + name)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (f *folder) create(name string) (*spoolFile, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return nil, fmt.Errorf("spool file %q: want a name without a folder", name)
	}
	if slices.ContainsFunc(f.files, func(o *spoolFile) bool { return o.name == name }) {
		return nil, fmt.Errorf("spool file %q: made twice in one batch", name)
	}
	if !f.made {
		if err := f.retry(func() error { return f.fs.MkdirAll(f.path) }, spoolBuffer); err != nil {
			return nil, err
		}
		f.made = true
	}
	w := &spoolFile{folder: f, name: name}
	err := f.retry(func() (err error) {
		w.file, err = f.fs.Open(filepath.Join(f.path, name), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
		return err
	}, spoolBuffer)
	if err != nil {
		return nil, err
	}
	f.files = append(f.files, w)
	return w, nil
}

// retry does what takes space; on a full disk it borrows n bytes from the delivery's reserve and does it again.
func (f *folder) retry(do func() error, n int64) error {
	err := do()
	if err == nil || !hydrant.NoSpace(err) {
		return err
	}
	f.full = true
	if lerr := f.lend(n); lerr != nil {
		return errors.Join(err, lerr)
	}
	return do()
}

// seal makes the files that outputs name durable and closes them, and fills in their sizes and sums (I8).
func (f *folder) seal(outputs []output) error {
	for i := range outputs {
		o := &outputs[i]
		at := slices.IndexFunc(f.files, func(w *spoolFile) bool { return w.name == o.File })
		if at < 0 {
			return fmt.Errorf("spool file %q: named by an encoder that has not made it", o.File)
		}
		w := f.files[at]
		if err := w.flush(); err != nil {
			return err
		}
		o.Size, o.CRC = w.size, w.crc
		if err := w.file.Sync(hydrant.PointSpoolFile); err != nil {
			return err
		}
	}
	if err := f.close(); err != nil {
		return err
	}
	return hydrant.SyncDir(f.fs, f.path, hydrant.PointSpoolDir)
}

// close closes the files, sealed or not.
func (f *folder) close() error {
	var errs []error
	for _, w := range f.files {
		errs = append(errs, w.file.Close())
	}
	f.files = nil
	return errors.Join(errs...)
}

// discard closes and removes the files made here, and leaves what else the folder holds. After a failed sync nothing
// of them is built upon: neither their bytes nor their names.
func (f *folder) discard() {
	made := f.files
	f.close()
	for _, w := range made {
		f.fs.Remove(filepath.Join(f.path, w.name))
	}
}

// drop gives up what the folder holds.
func (f *folder) drop() {
	f.close()
	if f.made {
		f.remove(f.path)
	}
}

// remove deletes the folder of a batch. What cannot be removed now goes at the next start.
func (s *spool) remove(path string) error {
	names, err := s.fs.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range names {
		errs = append(errs, s.fs.Remove(filepath.Join(path, e.Name())))
	}
	return errors.Join(append(errs, s.fs.Remove(path))...)
}

// clean removes the folders of all batches that keep does not name.
func (s *spool) clean(keep func(batch uint64) bool) error {
	names, err := s.fs.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range names {
		batch, err := strconv.ParseUint(e.Name(), 10, 64)
		if err == nil && keep(batch) || !e.IsDir() {
			continue
		}
		errs = append(errs, s.remove(filepath.Join(s.dir, e.Name())))
	}
	return errors.Join(errs...)
}

// open opens a spooled file for a sink.
func (s *spool) open(batch uint64, o sinks.Output) (sinks.Content, error) {
	return s.fs.Open(filepath.Join(s.path(batch), o.File), os.O_RDONLY)
}

// errSpoolDamaged: a spooled file is not what Ready says. It can neither be sent nor built again.
var errSpoolDamaged = errors.New("the spooled file is damaged")

// verify compares a spooled file with what Ready says of it.
func (s *spool) verify(batch uint64, o sinks.Output) error {
	name := filepath.Join(s.path(batch), o.File)
	f, err := s.fs.Open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: missing, want %d bytes: %w", name, o.Size, errSpoolDamaged)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size != o.Size {
		return fmt.Errorf("%s: %d bytes, want %d: %w", name, size, o.Size, errSpoolDamaged)
	}
	crc, buf := uint32(0), make([]byte, min(size, 256<<10))
	for at := int64(0); at < size; {
		n := min(size-at, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		crc = crc32.Update(crc, castagnoli, buf[:n])
		at += n
	}
	if crc != o.CRC && !hydrant.Sabotaged(hydrant.RuleCheckCRC) {
		return fmt.Errorf("%s: crc %08x, want %08x: %w", name, crc, o.CRC, errSpoolDamaged)
	}
	return nil
}

// spoolFile counts and sums what is written into it.
type spoolFile struct {
	*folder
	name   string
	file   hydrant.File
	buf    []byte
	size   int64 // buffered bytes included
	crc    uint32
	closed bool
	err    error // the first write that failed: what the file holds is not known since
}

// Write implements io.Writer.
func (w *spoolFile) Write(p []byte) (int, error) {
	if w.closed {
		return 0, fs.ErrClosed
	}
	if w.err != nil {
		return 0, w.err
	}
	if len(w.buf)+len(p) > spoolBuffer {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	w.crc = crc32.Update(w.crc, castagnoli, p)
	w.size += int64(len(p))
	if len(p) >= spoolBuffer {
		return len(p), w.put(p)
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, spoolBuffer)
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func (w *spoolFile) flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	p := w.buf
	w.buf = w.buf[:0]
	return w.put(p)
}

// put writes p as the file's last bytes.
func (w *spoolFile) put(p []byte) error {
	at := w.size - int64(len(p))
	w.err = w.retry(func() error {
		_, err := w.file.WriteAt(p, at)
		return err
	}, int64(len(p)))
	return w.err
}

// Close implements io.Closer: the encoder is done with the file. seal, or drop, closes it.
func (w *spoolFile) Close() error {
	if w.closed {
		return fs.ErrClosed
	}
	w.closed = true
	err := w.flush()
	w.buf = nil
	return err
}
