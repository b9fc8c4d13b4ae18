package proctest

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// SIGKILL proves nothing about fsync, since the page cache survives it. This looks at the system calls themselves: no
// 200 leaves before the fdatasync that covers its records (I1), and no PUT before that of its Ready (I8). A binary with
// one of the syncs switched off must be caught, else the test would prove nothing.
func TestNothingIsSaidOrSentBeforeItsSync(t *testing.T) {
	for _, row := range []struct {
		name, off string
		caught    string // what a violation says; "" = there must be none
	}{
		{"every sync in its place", "", ""},
		{"blocks are not synced", "block", "200"},
		{"segment names are not synced", "segment-dir", "200"},
		{"Ready is not synced", "ready", "PUT"},
		{"spooled files are not synced", "spool-file", "PUT"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bin := binary(t)
			if row.off != "" {
				bin = sabotaged(t)
				t.Setenv("HYDRANT_SABOTAGE", row.off)
			}
			calls := traceDaemon(t, bin)
			answers, wrong := checkAnswers(calls)
			puts, wrong2 := checkPuts(calls)
			wrong = append(wrong, wrong2...)
			t.Logf("%d system calls; %d answers of 200 and %d PUTs judged, %d came too early", len(calls), answers, puts, len(wrong))
			if answers < 200 || puts < 1 {
				t.Errorf("%d answers and %d PUTs in the trace, want at least 200 and 1", answers, puts)
			}
			switch {
			case row.caught == "" && len(wrong) > 0:
				t.Errorf("%d came too early, the first: %s", len(wrong), wrong[0])
			case row.caught != "" && (len(wrong) == 0 || !strings.Contains(wrong[0], row.caught)):
				t.Errorf("a daemon without the sync %q was not caught: %q", row.off, wrong)
			}
		})
	}
}

// traceDaemon runs a daemon with an HTTP door and an S3 destination under strace, posts to it over several connections
// and returns its system calls.
func traceDaemon(t *testing.T, bin string) []call {
	s := newStore(t)
	ds := newDeliveries(t)
	trace := filepath.Join(t.TempDir(), "trace")
	config := ds.with(t, "{}", fmt.Sprintf(`{s3: {bucket: logs, endpoint: %q, %s}}`, s.URL, s3Access))
	d := start(t, launch{bin: bin, config: config, wrap: []string{
		"strace", "-D", "-f", "-yy", "-s", "65536", "-o", trace,
		"-e", "trace=read,write,writev,sendto,sendmsg,sendfile,splice,pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2",
		"--signal=none", "-qq",
	}}).ready()
	var producers sync.WaitGroup
	for p := range 4 {
		producers.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range 60 {
				if o, _ := post(client, ds.url, fmt.Sprintf("traced-%d-%04d-end\n", p, i)); o != acknowledged {
					t.Errorf("POST %d of producer %d was not acknowledged", i, p)
				}
			}
		})
	}
	producers.Wait()
	d.signal(syscall.SIGTERM)
	if code := d.wait(patience); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return parseTrace(t, text)
}

// call is one system call. begin and end are the places of its entry and its return in the trace.
type call struct {
	name, file string // file: what its first descriptor is: a path, or TCP:[…]
	args       string
	begin, end int
	ok         bool
}

var (
	wholeCall   = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (-?\d+)`)
	unfinished  = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$`)
	resumed     = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)`)
	descriptor  = regexp.MustCompile(`^\d+<(.*?)>(?:, |$)`)
	tracedID    = regexp.MustCompile(`traced-\d-\d{4}-end`)
	objectRange = regexp.MustCompile(`[a-z2-7]{16}-[0-9a-f]{8}-\d{16}-\d{16}`)
	lastQuoted  = regexp.MustCompile(`"([^"]*)"[^"]*$`)
)

func parseTrace(t *testing.T, text []byte) []call {
	t.Helper()
	var calls []call
	open := map[string]call{} // by thread
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<24)
	for at := 0; lines.Scan(); at++ {
		line := lines.Text()
		var c call
		if m := unfinished.FindStringSubmatch(line); m != nil {
			open[m[1]] = call{name: m[2], args: m[3], begin: at}
			continue
		} else if m := resumed.FindStringSubmatch(line); m != nil {
			c = open[m[1]]
			c.args, c.end, c.ok = c.args+m[3], at, !strings.HasPrefix(m[4], "-")
		} else if m := wholeCall.FindStringSubmatch(line); m != nil {
			c = call{name: m[2], args: m[3], begin: at, end: at, ok: !strings.HasPrefix(m[4], "-")}
		} else {
			continue
		}
		if m := descriptor.FindStringSubmatch(c.args); m != nil {
			c.file = m[1]
		}
		calls = append(calls, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

// written tells whether text was written to a file below folder, and that file synced, before the call at before began.
// It returns the file.
func written(calls []call, folder, text string, before int) (file string, synced bool) {
	for _, w := range calls {
		if !strings.HasPrefix(w.name, "pwrite") || !strings.Contains(w.file, folder) || !strings.Contains(w.args, text) {
			continue
		}
		file = w.file
		for _, s := range calls {
			if s.name == "fdatasync" && s.ok && s.file == w.file && s.begin > w.end && s.end < before {
				return file, true
			}
		}
	}
	return file, false
}

// checkAnswers judges every 200: the records of the requests before it on its connection are written and synced, and so
// is the name of the segment they lie in.
func checkAnswers(calls []call) (judged int, wrong []string) {
	asked := map[string][]string{} // ids by connection
	for _, c := range calls {
		if !strings.HasPrefix(c.file, "TCP") {
			continue
		}
		if c.name == "read" && c.ok {
			asked[c.file] = append(asked[c.file], tracedID.FindAllString(c.args, -1)...)
		}
		if !strings.Contains(c.args, "HTTP/1.1 200") || !isSend(c) {
			continue
		}
		for _, id := range asked[c.file] {
			judged++
			file, synced := written(calls, "/streams/app/log/", id, c.begin)
			switch {
			case file == "":
				wrong = append(wrong, fmt.Sprintf("200 for %s, which was written nowhere", id))
			case !synced:
				wrong = append(wrong, fmt.Sprintf("200 for %s before the fdatasync of %s", id, filepath.Base(file)))
			case !nameSynced(calls, file, c.begin):
				wrong = append(wrong, fmt.Sprintf("200 for %s before the fsync of the folder of %s", id, filepath.Base(file)))
			}
		}
		delete(asked, c.file)
	}
	return judged, wrong
}

// nameSynced tells whether file got its name, and its folder was synced after that, before the call at before began.
func nameSynced(calls []call, file string, before int) bool {
	for _, r := range calls {
		m := lastQuoted.FindStringSubmatch(r.args)
		if !strings.HasPrefix(r.name, "rename") || !r.ok || m == nil || filepath.Base(m[1]) != filepath.Base(file) {
			continue
		}
		for _, s := range calls {
			if s.name == "fsync" && s.ok && s.file == filepath.Dir(file) && s.begin > r.end && s.end < before {
				return true
			}
		}
	}
	return false
}

// checkPuts judges every PUT: its name is in a journal frame that was written and synced, and everything that was
// spooled for it was synced before that.
func checkPuts(calls []call) (judged int, wrong []string) {
	for _, c := range calls {
		if !isSend(c) || !strings.HasPrefix(c.file, "TCP") || !strings.Contains(c.args, "PUT /logs/") {
			continue
		}
		judged++
		name := objectRange.FindString(c.args)
		journal, synced := written(calls, "/cursors/", name, c.begin)
		if journal == "" || !synced {
			wrong = append(wrong, fmt.Sprintf("PUT of %s before the fdatasync of its Ready", name))
			continue
		}
		for _, w := range calls {
			if strings.HasPrefix(w.name, "pwrite") && strings.Contains(w.file, "/spool/") && w.end < c.begin && !syncedSince(calls, w, c.begin) {
				wrong = append(wrong, fmt.Sprintf("PUT of %s before the fdatasync of %s", name, filepath.Base(w.file)))
				break
			}
		}
	}
	return judged, wrong
}

func syncedSince(calls []call, w call, before int) bool {
	for _, s := range calls {
		if s.name == "fdatasync" && s.ok && s.file == w.file && s.begin > w.end && s.end < before {
			return true
		}
	}
	return false
}

func isSend(c call) bool {
	return c.name == "write" || c.name == "writev" || c.name == "sendto" || c.name == "sendmsg"
}
