package proctest

import (
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The binary is static: it runs on an empty root.
func TestTheBinaryIsStatic(t *testing.T) {
	f, err := elf.Open(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary wants a dynamic linker")
		}
	}
}

// What the Dockerfile makes, without Docker: the binary on a root that holds nothing else and that it cannot write to,
// as user 65532, with a data_dir of its own.
func TestItRunsAsNobodyOnAnEmptyReadOnlyRoot(t *testing.T) {
	const nobody = 65532
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, binary(t), filepath.Join(root, "hydrant"), 0o555)
	for _, dir := range []string{"etc/hydrant", "var/lib/hydrant", "out"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"var/lib/hydrant", "out"} {
		if err := os.Chown(filepath.Join(root, dir), nobody, nobody); err != nil {
			t.Fatalf("%v; run the tests as root", err)
		}
	}
	config := `
pipelines:
  app:
    sources: [{stdin: {}}]
    destinations: [{file: {path: /out, prefix: "!{timestamp:yyyy}/", time_zone: Europe/Berlin}}]
`
	if err := os.WriteFile(filepath.Join(root, "etc/hydrant/hydrant.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	records := numbered("r", 1000)
	d := start(t, launch{
		bin: "/hydrant", command: []string{"run", "--once"}, stdin: strings.NewReader(body(records)),
		sys: &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}},
	})
	if code := d.wait(patience); code != 0 {
		t.Fatalf("exit code %d, want 0:\n%s", code, d.output)
	}
	want(t, "the folder", all(parseAll(t, "app-file", folder(t, filepath.Join(root, "out")))), records)
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
