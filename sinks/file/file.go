// Package file is the destination for objects in a folder: laid out as in S3, put in place atomically and durably.
package file

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/object"
)

// Config is the section of a file destination.
type Config struct {
	Path          config.Path `yaml:"path" doc:"The folder that objects are written to. It is made if it is not there."`
	object.Layout `yaml:",inline"`
}

// Kind makes file destinations.
var Kind = sinks.Define(Config{Layout: object.Defaults()}, open)

// Target implements config.Targeter.
func (c *Config) Target() string { return string(c.Path) }

// maxName is the longest name of one file in most file systems, in bytes.
const maxName = 255

// Check implements config.Checker.
func (c *Config) Check(r *config.Report) {
	if c.Path == "" {
		r.Problem("path", "no folder", "path: and the folder to write to")
	}
	c.Layout.Check(r)
	if slices.ContainsFunc(strings.Split(c.Prefix, "/"), func(p string) bool { return p == ".." || p == "." }) {
		r.Problem("prefix", "a . or .. in a path", "a prefix that stays inside the folder")
	}
}

// CheckNames implements config.NameChecker.
func (c *Config) CheckNames(r *config.Report, pipeline, destination string, errorOutput bool) {
	c.Layout.CheckNames(r, pipeline, destination, errorOutput)
	if last := c.LongestName(pipeline, destination, errorOutput); last > maxName {
		r.Problem("prefix", fmt.Sprintf("file names can become %d bytes long", last),
			fmt.Sprintf("at most %d, so at most %d fewer behind the last slash", maxName, last-maxName))
	}
}

// folder is an open file destination.
type folder struct {
	*object.Format
	path  string
	fs    hydrant.FS
	clock hydrant.Clock
	rand  io.Reader
	name  string // PIPELINE/DESTINATION, for remedies
	owner string // the part of a temporary name that tells whose it is

	tidying hydrant.Turn // held while folders are made and swept
	mu      sync.Mutex
	settled map[string]bool // folders whose way down from the target is known to be durable
	swept   map[string]bool // targets whose stale temporaries are gone
}

func open(c Config, d sinks.Deps) (sinks.Sink, error) {
	format, err := object.New(c.Layout, d.Rand, false)
	if err != nil {
		return nil, err
	}
	f := &folder{
		Format: format, path: filepath.Clean(string(c.Path)), fs: d.FS, clock: d.Clock, rand: d.Rand,
		name:    d.Pipeline + "/" + d.Destination,
		owner:   d.Pipeline + "~" + d.Destination, // ~ stands in no name, so this is nobody else's
		settled: map[string]bool{}, swept: map[string]bool{},
	}
	return f, nil
}

// Encoder implements sinks.Sink.
func (f *folder) Encoder(b sinks.Batch, sp sinks.Spool) (sinks.Encoder, error) {
	return f.Format.Encoder(b, sp, f.path)
}

// Ship implements sinks.Sink.
func (f *folder) Ship(ctx context.Context, s *sinks.Shipment) error {
	for _, o := range s.Outputs {
		dir := filepath.Dir(place(o))
		err := f.tidy(ctx, dir, o.Target)
		if err == nil {
			err = f.put(ctx, s, o)
		}
		if err != nil {
			f.forget(dir, o.Target)
			return f.explain(err, o)
		}
	}
	return nil
}

// Resolve implements sinks.Sink. File calls have no stragglers: what is not there will not come.
func (f *folder) Resolve(ctx context.Context, s *sinks.Shipment) error {
	there := 0
	for _, o := range s.Outputs {
		switch found, err := f.look(o); {
		case err != nil:
			return f.explain(err, o)
		case found:
			there++
		}
	}
	if there == 0 {
		return nil
	}
	if err := f.Ship(ctx, s); err != nil { // what is there is perhaps not durable yet, and all of it has to be
		return err
	}
	s.Delivered(0, 0)
	return nil
}

// Close implements sinks.Sink.
func (f *folder) Close() error { return nil }

func place(o sinks.Output) string { return filepath.Join(o.Target, filepath.FromSlash(o.Name)) }

// put brings one file to its place and makes it durable there. Its folder is there.
func (f *folder) put(ctx context.Context, s *sinks.Shipment, o sinks.Output) error {
	if _, err := f.look(o); err != nil {
		return err
	}
	// What an earlier attempt left under the name is made and named anew. Its sync of the folder may have failed, in this
	// process or in one that was killed, and a second sync of the same entry proves nothing then (I7).
	if err := f.place(ctx, s, o); err != nil {
		return err
	}
	return hydrant.SyncDir(f.fs, filepath.Dir(place(o)), hydrant.PointTargetDir)
}

// place writes the bytes under a temporary name, syncs them and gives them their name.
func (f *folder) place(ctx context.Context, s *sinks.Shipment, o sinks.Output) error {
	temp, err := f.tempName(s, o)
	if err != nil {
		return err
	}
	if err := f.write(ctx, s, o, temp); err != nil {
		// Nothing has its name yet, so this attempt changed nothing. What is left is swept at the next start.
		_ = f.fs.Remove(temp)
		return sinks.Unsent(err)
	}
	if err := f.fs.Rename(temp, place(o)); err != nil {
		_ = f.fs.Remove(temp)
		return err
	}
	return nil
}

func (f *folder) write(ctx context.Context, s *sinks.Shipment, o sinks.Output, temp string) error {
	from, err := s.Open(o)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := f.fs.Open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	err = copyTo(ctx, to, from, o)
	if err == nil {
		err = to.Sync(hydrant.PointTargetFile)
	}
	return errors.Join(err, to.Close())
}

func copyTo(ctx context.Context, to hydrant.File, from io.ReaderAt, o sinks.Output) error {
	if o.Size > 0 {
		if err := to.Allocate(o.Size); err != nil {
			return err
		}
	}
	sum, err := crc(from, o.Size, func(b []byte, at int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := to.WriteAt(b, at)
		return err
	})
	if err != nil {
		return err
	}
	if sum != o.CRC && !hydrant.Sabotaged(hydrant.RuleCheckCRC) {
		return fmt.Errorf("spooled file of %s: crc %08x, want %08x", o.Name, sum, o.CRC)
	}
	return nil
}

// look tells whether the file is there with the right bytes. Other bytes under its name are an error.
func (f *folder) look(o sinks.Output) (bool, error) {
	final := place(o)
	file, err := f.fs.Open(final, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return false, err
	}
	sum := o.CRC + 1
	if size == o.Size {
		if sum, err = crc(file, size, func([]byte, int64) error { return nil }); err != nil {
			return false, err
		}
	}
	if sum != o.CRC {
		return false, sinks.Unsent(f.operator(fmt.Errorf("%s: there are other bytes under this name: %d of them, want %d", final, size, o.Size),
			"move "+final+" away: hydrant did not write it so", o))
	}
	return true, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// crc reads size bytes in pieces, hands each on, and returns the CRC32C of all.
func crc(from io.ReaderAt, size int64, piece func(b []byte, at int64) error) (sum uint32, err error) {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for at := int64(0); at < size; {
		part := (*b)[:min(size-at, int64(len(*b)))]
		if n, err := from.ReadAt(part, at); n < len(part) {
			return 0, fmt.Errorf("%d bytes, want %d: %w", at+int64(n), size, err)
		}
		sum = crc32.Update(sum, castagnoli, part)
		if err := piece(part, at); err != nil {
			return 0, err
		}
		at += int64(len(part))
	}
	return sum, nil
}

// explain marks the errors that only the operator can mend.
func (f *folder) explain(err error, o sinks.Output) error {
	var known *sinks.OperatorError
	if errors.As(err, &known) {
		return err
	}
	remedy := remedy(err, o.Target)
	switch {
	case remedy == "":
		return err
	case sinks.IsUnsent(err):
		return sinks.Unsent(f.operator(err, remedy, o))
	}
	return f.operator(err, remedy, o)
}

// operator makes err the operator's. A Ready batch keeps the folder that it was made for, also when another is configured
// by now: then the remedy says what else can be done with it.
func (f *folder) operator(err error, remedy string, o sinks.Output) error {
	if o.Target != f.path {
		remedy = sinks.Moved(remedy, "folder "+o.Target, f.name)
	}
	return sinks.Operator(err, remedy)
}

// remedy is what the operator can do about an error; "" when it may pass by itself.
func remedy(err error, target string) string {
	switch {
	case hydrant.NoSpace(err):
		return "free space on the file system of " + target
	case errors.Is(err, fs.ErrPermission):
		return "let the user that hydrant runs as write to " + target
	case errors.Is(err, syscall.EROFS):
		return "make the file system of " + target + " writable"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP):
		return "move away what stands in the way of the folders in " + target
	case errors.Is(err, syscall.ENAMETOOLONG):
		return "shorten the prefix or the names of pipeline and destination"
	}
	return ""
}
