package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestASecretNeverPrints(t *testing.T) {
	const value = "hunter2"
	type holder struct {
		Open   Secret
		closed Secret
		list   []Secret
		any    any
	}
	h := holder{NewSecret(value), NewSecret(value), []Secret{NewSecret(value)}, NewSecret(value)}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", h, &h, h.Open)
	}
	text, err := json.Marshal(map[string]any{"holder": h, "secret": h.Open, "key": map[Secret]int{h.Open: 1}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", h.Open, "holder", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", h.Open, "holder", h)
	if hex := fmt.Sprintf("%x", value); strings.Contains(out.String(), value) || strings.Contains(out.String(), hex) {
		t.Errorf("the secret is in:\n%s", out.String())
	}
	same(t, "value", h.Open.Value(), value)
	same(t, "empty", h.Open.Empty(), false)
	same(t, "zero is empty", Secret{}.Empty(), true)
	same(t, "value of zero", Secret{}.Value(), "")
	same(t, "equal secrets are equal", reflect.DeepEqual(NewSecret("a"), NewSecret("a")), true)
	same(t, "different ones are not", reflect.DeepEqual(NewSecret("a"), NewSecret("b")), false)
}

func TestSecretFilesAreReadFromTheFilesFolder(t *testing.T) {
	for written, want := range map[string]string{
		"file:token": "from the file", "file:./token": "from the file", "file:../../run/secrets/crlf": "two\nlines", "plain": "plain", "files": "files", "'${NOWHERE:-file:token}'": "from the file",
	} {
		cfg, problems := parseTest(source("http:\n          listen: localhost:1\n          token: " + written))
		if len(problems) > 0 {
			t.Errorf("%s: %v", written, problems)
			continue
		}
		same(t, written, cfg.Pipelines[0].Sources[0].Value.(*httpSection).Token.Value(), want)
	}
	cfg, problems := parseTest(s3("bucket: 'file:token'"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	same(t, "file: where no secret is", cfg.Pipelines[0].Destinations[0].Sink.Value.(*s3Section).Bucket, "file:token")
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("token", "t0p\n")
	path := write("hydrant.yaml", "data_dir: data\n"+source("http: {listen: localhost:1, token: 'file:token'}"))
	cfg, problems := Load(path, testEnv, standIns())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	same(t, "file", cfg.File, path)
	same(t, "data_dir", cfg.DataDir, filepath.Join(dir, "data"))
	same(t, "token", cfg.Pipelines[0].Sources[0].Value.(*httpSection).Token.Value(), "t0p")
	same(t, "error output", cfg.Pipelines[0].Destinations[0].ErrorOutput.Value.(*fileSection).Path, Path(filepath.Join(dir, "data/errors/logs")))

	missing := filepath.Join(dir, "missing.yaml")
	for path, want := range map[string]string{
		missing: missing + ": the configuration cannot be read: no such file or directory, name a file that can, with -c FILE",
		dir:     dir + ": the configuration cannot be read: is a directory, name a file that can, with -c FILE",
		write("large", strings.Repeat("#", maxFile+1)): filepath.Join(dir, "large") + ": more than 1MiB, a configuration file",
	} {
		cfg, problems := Load(path, testEnv, standIns())
		if cfg != nil || len(problems) != 1 || problems[0].String() != want || !Failed(problems) {
			t.Errorf("%v, want %s", problems, want)
		}
	}

	t.Chdir(dir)
	cfg, problems = Load("hydrant.yaml", testEnv, standIns())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	same(t, "data_dir beside a relative name", cfg.DataDir, filepath.Join(dir, "data"))
}

func TestReadFileTakesOnlyFiles(t *testing.T) {
	dir := t.TempDir()
	exact, large := filepath.Join(dir, "exact"), filepath.Join(dir, "large")
	if err := errors.Join(os.WriteFile(exact, make([]byte, 8), 0o600), os.WriteFile(large, make([]byte, 9), 0o600)); err != nil {
		t.Fatal(err)
	}
	text, err := readFile(exact, 8)
	same(t, "exact", len(text), 8)
	same(t, "exact", err, nil)
	_, err = readFile(large, 8)
	same(t, "large", err, errTooLarge)
	_, err = readFile(dir, 8)
	same(t, "folder", err, errNoFile)
	_, err = readFile("/dev/zero", 8)
	same(t, "device", err, errNoFile)
}
