package file

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// Temporary files lie in the target itself, whatever folders the prefix makes, so that they can be found again:
//
//	.hydrant-<pipeline>~<destination>~<log>-<run>-<from>-<8 random digits>.tmp
//
// No object begins with a dot unless its prefix does, and none ends in .tmp.
const (
	tempHead = ".hydrant-"
	tempTail = ".tmp"
)

func (f *folder) tempName(s *sinks.Shipment, o sinks.Output) (string, error) {
	var b [4]byte
	if _, err := io.ReadFull(f.rand, b[:]); err != nil {
		return "", err
	}
	return filepath.Join(o.Target, fmt.Sprintf("%s%s~%s-%s-%d-%s%s", tempHead, f.owner, s.Log, s.Run, s.From, hex.EncodeToString(b[:]), tempTail)), nil
}

// tidy readies a target and one of its folders for a file: what is left of earlier processes is gone, and the way down to
// the folder is durable. Each is done once in a process.
func (f *folder) tidy(ctx context.Context, dir, target string) error {
	if swept, settled := f.known(dir, target); swept && settled {
		return nil
	}
	if err := f.tidying.Take(ctx, f.clock); err != nil {
		return err
	}
	defer f.tidying.Give()
	swept, settled := f.known(dir, target)
	if !swept {
		if err := f.sweep(target); err != nil {
			return sinks.Unsent(err)
		}
	}
	if !settled {
		if err := f.settle(dir, target); err != nil {
			return sinks.Unsent(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.settled) >= maxSettled {
		clear(f.settled)
	}
	f.swept[target], f.settled[dir] = true, true
	return nil
}

// maxSettled bounds what is remembered of folders: random prefixes make one for each batch.
const maxSettled = 4096

func (f *folder) known(dir, target string) (swept, settled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.swept[target], f.settled[dir]
}

// forget makes the next attempt look after a folder again: somebody may have removed it.
func (f *folder) forget(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.settled, dir)
}

func (f *folder) isDoubted(final string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doubted[final]
}

func (f *folder) doubt(final string, now bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now {
		f.doubted[final] = true
	} else {
		delete(f.doubted, final)
	}
}

// sweep removes this delivery's stale temporaries from a target, before anything is written there. Should another daemon
// with the same names be writing there, it finds its file gone and writes it again.
func (f *folder) sweep(target string) error {
	entries, err := f.fs.ReadDir(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, tempHead+f.owner+"~") && strings.HasSuffix(name, tempTail) {
			if err := f.fs.Remove(filepath.Join(target, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// settle makes dir and all above it, and makes their names durable as far up as the one above the folder that target lies in: also
// those that were there already, since who made them may have crashed before that.
func (f *folder) settle(dir, target string) error {
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		there, err := f.there(at)
		if err != nil {
			return err
		}
		if there || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, at)
	}
	err := f.fs.MkdirAll(dir)
	if err == nil {
		err = f.syncUp(dir, target)
	}
	if err != nil {
		// A sync that failed may have dropped the new names, and the next would not tell: so they are made anew then.
		for _, made := range missing {
			_ = f.fs.Remove(made)
		}
	}
	return err
}

func (f *folder) there(dir string) (bool, error) {
	d, err := f.fs.Open(dir, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, d.Close()
}

func (f *folder) syncUp(dir, target string) error {
	for at := dir; len(at) > len(target); at = filepath.Dir(at) {
		if err := hydrant.SyncDir(f.fs, filepath.Dir(at), hydrant.PointTargetDir); err != nil {
			return err
		}
	}
	// Of the folders above the target, one is perhaps ours too: data_dir/errors is. One that we may not open was there
	// long before us.
	for at, i := target, 0; i < 2; at, i = filepath.Dir(at), i+1 {
		err := hydrant.SyncDir(f.fs, filepath.Dir(at), hydrant.PointTargetDir)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
