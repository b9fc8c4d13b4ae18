package config

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Secret is a string that never prints: not by fmt, not as JSON or text, not in a log line, not inside an unexported
// field (hence the pointer). Value gives it out.
type Secret struct{ value *string }

// NewSecret makes a Secret of s.
func NewSecret(s string) Secret { return Secret{&s} }

// Value is the secret itself.
func (s Secret) Value() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty tells whether no secret was given.
func (s Secret) Empty() bool { return s.Value() == "" }

const hidden = "***"

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// maxSecret bounds the file of a secret, in bytes.
const maxSecret = 64 << 10

// secretFile is the value of a Secret that is written file:PATH, without the line end that editors leave behind.
func (d *decoder) secretFile(n *node, name string) (string, bool) {
	path := strings.TrimPrefix(n.value, "file:")
	shown := n.source
	if strings.HasPrefix(n.source, "file:") { // else the path itself came out of a variable, and may be no path at all
		shown = path
	}
	refuse := func(found, want string) (string, bool) {
		d.refuse(n, name, found, want)
		return "", false
	}
	if path == "" {
		return refuse("file: without a path", "write file:PATH")
	}
	if strings.ContainsRune(path, 0) {
		return refuse("a path with a zero byte", "write file:PATH")
	}
	text, err := d.readFile(d.absolute(path), maxSecret)
	if err != nil {
		defer func() { d.problems[len(d.problems)-1].outside = true }()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("the secret file "+shown+" does not exist", "create it or name another")
	case errors.Is(err, fs.ErrPermission):
		return refuse("the secret file "+shown+" may not be read by this user", "change its owner or mode")
	case errors.Is(err, errTooLarge):
		return refuse("the secret file "+shown+" holds more than "+Size(maxSecret).String(), "name a file that holds the secret alone")
	case errors.Is(err, errNoFile):
		return refuse(shown+" is not a file", "name a file that holds the secret alone")
	case err != nil:
		return refuse("the secret file "+shown+" cannot be read: "+reason(err), "name a file that can")
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if secret == "" {
		return refuse("the secret file "+shown+" is empty", "write the secret into it")
	}
	return secret, true
}

var (
	errTooLarge = errors.New("too large")
	errNoFile   = errors.New("not a file")
)

// readFile reads a regular file of at most limit bytes. A pipe would block and a device never end.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errNoFile
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = errTooLarge
	}
	return text, err
}

// reason is an error of the file system without operation and path.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// Path is a file or folder: relative ones are from the folder of the configuration file; after loading it is absolute,
// or empty when nothing was given.
type Path string

func (d *decoder) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}
