package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// layoutVersion is what VERSION says: how data_dir is laid out.
const layoutVersion = 1

// dataDir is a data directory that this process has to itself.
type dataDir struct {
	path string
	lock *os.File
}

// errLocked: another process has the data directory.
var errLocked = errors.New("is in use")

// openDataDir makes the directory if need be, locks it and checks that its layout is one we know.
func openDataDir(path string) (*dataDir, error) {
	if err := (hydrant.OS{}).MkdirAll(path); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(hydrant.OS{}, path); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &dataDir{path, lock}, nil
}

// Close lets the next process in.
func (d *dataDir) Close() error { return d.lock.Close() }

// lockDir takes LOCK, which holds the id of the process that has it. The kernel lets go of it when the process ends,
// however it ends.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%s: %w by another hydrant, process %s: stop that one, or give this one a data_dir of its own",
			dir, errLocked, owner(f)), f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return f, nil
}

// lockedBy is the process that has the data directory, "" if none has.
func lockedBy(dir string) (pid string) {
	f, err := os.Open(filepath.Join(dir, "LOCK"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if !errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK) {
		return ""
	}
	return owner(f)
}

// owner is what LOCK says of who holds it.
func owner(lock *os.File) string {
	text := make([]byte, 20)
	n, _ := lock.ReadAt(text, 0) // it may be empty yet
	if pid := strings.TrimSpace(string(text[:n])); pid != "" {
		return pid
	}
	return "unknown"
}

// checkVersion reads VERSION, or writes it into a new directory.
func checkVersion(fsys hydrant.FS, dir string) error {
	if _, err := readSmall(fsys, filepath.Join(dir, "VERSION")); errors.Is(err, fs.ErrNotExist) {
		return writeDurably(fsys, dir, "VERSION", strconv.Itoa(layoutVersion)+"\n")
	}
	return knownVersion(fsys, dir)
}

// knownVersion returns an error when the directory has a layout that this program does not know. None is fine.
func knownVersion(fsys hydrant.FS, dir string) error {
	name := filepath.Join(dir, "VERSION")
	text, err := readSmall(fsys, name)
	if err != nil {
		return missing(err)
	}
	found, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	switch {
	case err != nil:
		return fmt.Errorf("%s: found %q, want a number", name, text)
	case found > layoutVersion:
		return fmt.Errorf("%s: %w (layout %d, this one knows %d): run that version, or give this one another data_dir",
			name, buffer.ErrNewerFormat, found, layoutVersion)
	}
	return nil
}

// readSmall reads the first 64 bytes of a file.
func readSmall(fsys hydrant.FS, name string) (string, error) {
	f, err := fsys.Open(name, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	size, err := f.Size()
	text := make([]byte, min(size, 64))
	if err == nil && size > 0 {
		_, err = f.ReadAt(text, 0)
	}
	return string(text), errors.Join(err, f.Close())
}

// writeDurably makes a file that is there whole or not at all.
func writeDurably(fsys hydrant.FS, dir, name, text string) error {
	tmp := filepath.Join(dir, name+".tmp")
	f, err := fsys.Open(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Sync(hydrant.PointMkdir)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return hydrant.SyncDir(fsys, dir, hydrant.PointMkdir)
}
