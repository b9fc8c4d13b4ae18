package proctest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// object is one delivered file, with what its name says.
type object struct {
	key      string
	log, run string
	from, to uint64
	lines    []string
}

// named is <prefix><pipeline>-<destination>-<yyyy-MM-dd-HH-mm-ss>-<log>-<run>-<from>-<to>[.<ext>], as in README.md.
var named = regexp.MustCompile(`^(.+)-\d{4}(?:-\d\d){5}-([a-z2-7]{16})-([0-9a-f]{8})-(\d{16})-(\d{16})((?:\.[a-z]+)?)$`)

// parse reads an object: its name must be one of stream (pipeline-destination), its bytes what its ending says.
func parse(t testing.TB, stream, key string, body []byte) object {
	t.Helper()
	m := named.FindStringSubmatch(path.Base(key))
	if m == nil || m[1] != stream {
		t.Fatalf("%s is not the name of an object of %s", key, stream)
	}
	from, _ := strconv.ParseUint(m[4], 10, 64)
	to, _ := strconv.ParseUint(m[5], 10, 64)
	return object{key: key, log: m[2], run: m[3], from: from, to: to, lines: lines(t, key, body)}
}

// lines decompresses a body by the ending of its name and splits it.
func lines(t testing.TB, name string, body []byte) []string {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	switch path.Ext(name) {
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r = z
	case ".zst":
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer z.Close()
		r = z
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return slices.Collect(func(yield func(string) bool) {
		for line := range bytes.Lines(text) {
			if !yield(string(bytes.TrimSuffix(line, []byte("\n")))) {
				return
			}
		}
	})
}

// parseAll reads every object of a listing, in the order of positions.
func parseAll(t testing.TB, stream string, listing map[string][]byte) []object {
	t.Helper()
	var all []object
	for _, key := range slices.Sorted(maps.Keys(listing)) {
		all = append(all, parse(t, stream, key, listing[key]))
	}
	slices.SortFunc(all, func(a, b object) int {
		if c := strings.Compare(a.log, b.log); c != 0 {
			return c
		}
		return int(int64(a.from) - int64(b.from))
	})
	return all
}

// folder lists the files below dir as if it were a bucket.
func folder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		key, _ := filepath.Rel(dir, name)
		found[filepath.ToSlash(key)] = body
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// all are the records of objects, one after the other.
func all(objects []object) []string {
	var records []string
	for _, o := range objects {
		records = append(records, o.lines...)
	}
	return records
}

// want fails unless got holds exactly the records of want, each once, in any order.
func want(t testing.TB, where string, got, want []string) {
	t.Helper()
	count := map[string]int{}
	for _, r := range got {
		count[r]++
	}
	for _, r := range want {
		count[r]--
	}
	var wrong []string
	for r, n := range count {
		switch {
		case n < 0:
			wrong = append(wrong, fmt.Sprintf("lost: %.60q", r))
		case n > 0:
			wrong = append(wrong, fmt.Sprintf("%d too many: %.60q", n, r))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		t.Errorf("%s: %d records, want %d; %d differ, such as %s", where, len(got), len(want), len(wrong), strings.Join(wrong[:min(5, len(wrong))], "; "))
	}
}

// numbered makes n records with a name in them.
func numbered(name string, n int) []string {
	records := make([]string, n)
	for i := range records {
		records[i] = fmt.Sprintf("%s-%06d", name, i)
	}
	return records
}

// body is records as stdin and the HTTP door take them: one a line.
func body(records []string) string { return strings.Join(records, "\n") + "\n" }

// outcome is what a producer knows of its records after a request.
type outcome int

const (
	acknowledged outcome = iota // 200: they are there, once
	refused                     // a definite answer, or never sent: they are not there
	unknown                     // no answer: they may be there
)

// post sends one body, once: nothing below it repeats. It returns the status too, 0 without an answer.
func post(client *http.Client, url, body string) (outcome, *http.Response) {
	// Without GetBody the transport cannot send the request a second time by itself.
	req, err := http.NewRequest(http.MethodPost, url, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		panic(err)
	}
	req.ContentLength = int64(len(body))
	res, err := client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return refused, nil
		}
		return unknown, nil
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	switch {
	case res.StatusCode == http.StatusOK:
		return acknowledged, res
	case res.StatusCode < 500:
		return refused, res
	}
	return unknown, res
}

// mustPost sends records to the HTTP door and expects that they are acknowledged.
func mustPost(t testing.TB, url string, records []string) {
	t.Helper()
	if o, res := post(http.DefaultClient, url, body(records)); o != acknowledged {
		t.Fatalf("POST %s: %v, want 200", url, res)
	}
}
