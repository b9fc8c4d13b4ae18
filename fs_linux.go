package hydrant

import (
	"errors"

	"golang.org/x/sys/unix"
)

func (f osFile) Sync(p Point) error {
	if Sabotaged(p) {
		return nil
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		return f.File.Sync()
	}
	for {
		err = unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return wrap("fdatasync", f.Name(), err)
		}
	}
}

func (f osFile) Allocate(size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP): // some network and overlay file systems: the length alone, then
			if now, serr := f.Size(); serr != nil || now >= size {
				return serr
			}
			return f.Truncate(size)
		}
		return wrap("fallocate", f.Name(), err)
	}
}
