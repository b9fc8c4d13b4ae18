//go:build !linux

package hydrant

func (f osFile) Sync(p Point) error {
	if Sabotaged(p) {
		return nil
	}
	return f.File.Sync()
}

func (f osFile) Allocate(size int64) error {
	if now, err := f.Size(); err != nil || now >= size {
		return err
	}
	return f.Truncate(size)
}
