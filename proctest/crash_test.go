package proctest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	kills        = 40      // of which every other one comes while a PUT is in flight
	perLife      = 5_000   // records acknowledged before a kill, at least
	crashRecords = 100_000 // acknowledged in all, at least
)

// The real binary with the race detector in it, a real S3 server behind a proxy that breaks what it can, producers that never
// repeat what they do not know the fate of, and SIGKILL: what was acknowledged is there exactly once, what is unknown at
// most once, nothing else, and in order.
func TestKilledAgainAndAgain(t *testing.T) {
	g := startGateway(t, "orders", "clicks")
	proxy := startProxy(t, "http://"+g.addr)
	dir, addr := t.TempDir(), freeAddr(t)
	access := fmt.Sprintf(`endpoint: %q, region: us-east-1, path_style: true, auth: {access_key_id: %s, secret_access_key: %s}, timeout: 2s`,
		proxy.url, gatewayID, gatewaySecret)
	config := writeConfig(t, dir, `
data_dir: data
shutdown: {grace: 2m}
pipelines:
  orders:
    sources: [{http: {listen: %[1]q, path: /orders}}]
    batch: {size: 1MiB, interval: 200ms}
    destinations:
      - s3: {bucket: orders, %[2]s}
      - file: {path: orders}
  clicks:
    sources: [{http: {listen: %[1]q, path: /clicks}}]
    buffer: {shards: 4}
    batch: {size: 1MiB, interval: 300ms}
    destinations:
      - s3: {bucket: clicks, prefix: "by-hour/", compression: zstd, %[2]s}
        concurrency: 2
`, addr, access)

	life := launch{bin: racing(t), config: config}
	began := time.Now()
	d := start(t, life).ready()
	ps := newProducers(addr)
	defer ps.stop()
	inFlight := 0
	for n := range kills {
		before := ps.acknowledged.Load()
		eventually(t, patience, "records are acknowledged after a start", func() bool { return ps.acknowledged.Load() >= before+perLife })
		if n%2 == 0 {
			eventually(t, patience, "a PUT is in flight", func() bool { return proxy.inFlight.Load() > 0 })
			inFlight++
		}
		d.kill()
		ps.killed()
		d = start(t, life).ready()
		ps.restarted()
	}
	eventually(t, patience, "enough records", func() bool { return ps.acknowledged.Load() >= crashRecords })
	ps.stop()
	proxy.SetPlan(nil)
	d.term()
	if code := d.wait(3 * time.Minute); code != 0 {
		t.Fatalf("exit code %d after SIGTERM, want 0", code)
	}
	faults := proxy.settle(t)

	orders, clicks := ps.outcomes("/orders"), ps.outcomes("/clicks")
	s := d.status()
	for _, o := range []struct {
		*outcomes
		pipeline, destination string
		listing               map[string][]byte
		whole                 bool // one shard: order holds within a request, too
	}{
		{orders, "orders", "s3", g.listing(t, "orders"), true},
		{orders, "orders", "file", folder(t, filepath.Join(dir, "orders")), true},
		{clicks, "clicks", "s3", g.listing(t, "clicks"), false},
	} {
		where := o.pipeline + "/" + o.destination
		objects := parseAll(t, o.pipeline+"-"+o.destination, o.listing)
		found := o.judge(t, where, objects)
		inOrder(t, where, objects, o.whole)
		p := s.Pipelines[o.pipeline]
		st := p.Destinations[o.destination]
		if st.Delivered.Records != found || st.Refused.Records != 0 || st.Dropped.Records != 0 || st.Pending.Records != 0 ||
			p.Appended.Records != found+st.Damaged.Records {
			t.Errorf("%s: status says %+v of %+v, the test counted %d", where, st, p.Appended, found)
		}
		t.Logf("%s: %d acknowledged, %d unknown of which %d are there, in %d objects", where, len(o.acked), len(o.unknown), found-int64(len(o.acked)), len(objects))
	}
	t.Logf("%d kills, %d of them while a PUT was in flight; %s; %.0f s", kills, inFlight, faults, time.Since(began).Seconds())
}

// outcomes are the records that were sent to one path.
type outcomes struct {
	mu             sync.Mutex
	acked, unknown map[string]bool
}

// judge fails unless every acknowledged record is there once, every unknown one at most once, and nothing else. It
// returns how many are there.
func (o *outcomes) judge(t *testing.T, where string, objects []object) int64 {
	t.Helper()
	seen := map[string]int{}
	for _, r := range all(objects) {
		id, _, _ := strings.Cut(r, " ")
		seen[id]++
	}
	var lost, doubled, strange []string
	for id := range o.acked {
		if seen[id] == 0 {
			lost = append(lost, id)
		}
	}
	for id, n := range seen {
		if n > 1 {
			doubled = append(doubled, id)
		}
		if !o.acked[id] && !o.unknown[id] {
			strange = append(strange, id)
		}
	}
	for what, ids := range map[string][]string{"lost": lost, "there more than once": doubled, "there, though never sent or refused": strange} {
		if slices.Sort(ids); len(ids) > 0 {
			t.Errorf("%s: %d records are %s: %q", where, len(ids), what, ids[:min(5, len(ids))])
		}
	}
	return int64(len(all(objects)))
}

// inOrder fails unless each producer's records are in the order of sending, by the positions in the names of the objects,
// and the spans do not overlap. whole: within one request, too.
func inOrder(t *testing.T, where string, objects []object, whole bool) {
	t.Helper()
	last := map[string]string{}
	var end uint64 = 1
	for _, o := range objects {
		if o.from < end || o.to <= o.from {
			t.Errorf("%s: %s overlaps its predecessor, which ends at %d", where, o.key, end)
		}
		end = o.to
		for _, r := range o.lines {
			id, _, _ := strings.Cut(r, " ")
			f := strings.Split(id, ".") // producer, request, record; each of one width
			if len(f) != 3 {
				t.Fatalf("%s: %s holds %q", where, o.key, r)
			}
			at := f[1]
			if whole {
				at += f[2]
			}
			if at < last[f[0]] {
				t.Errorf("%s: %s: %s comes after %s", where, o.key, id, last[f[0]])
				return
			}
			last[f[0]] = at
		}
	}
}

// producers post to both paths, each over a connection of its own, one request after the other.
type producers struct {
	addr         string
	acknowledged atomic.Int64
	paths        map[string]*outcomes
	running      sync.WaitGroup
	ended        chan struct{}
	end          func()

	mu sync.Mutex
	up chan struct{} // closed while there is a daemon
}

func newProducers(addr string) *producers {
	ps := &producers{addr: addr, paths: map[string]*outcomes{}, ended: make(chan struct{}), up: make(chan struct{})}
	ps.end = sync.OnceFunc(func() { close(ps.ended) })
	close(ps.up)
	for _, path := range []string{"/orders", "/clicks"} {
		o := &outcomes{acked: map[string]bool{}, unknown: map[string]bool{}}
		ps.paths[path] = o
		for n := range 4 {
			ps.running.Go(func() { ps.produce(path, n, o) })
		}
	}
	return ps
}

func (ps *producers) produce(path string, n int, o *outcomes) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	padding := strings.Repeat("x", 120)
	for request := 0; ; request++ {
		ps.mu.Lock()
		up := ps.up
		ps.mu.Unlock()
		select {
		case <-ps.ended:
			return
		case <-up:
		}
		ids := make([]string, 20+10*n)
		for i := range ids {
			ids[i] = fmt.Sprintf("%d.%08d.%03d", n, request, i)
		}
		text := strings.Join(ids, " "+padding+"\n") + " " + padding + "\n"
		result, _ := post(client, "http://"+ps.addr+path, text)
		o.mu.Lock()
		for _, id := range ids {
			switch result {
			case acknowledged:
				o.acked[id] = true
			case unknown:
				o.unknown[id] = true
			}
		}
		o.mu.Unlock()
		if result == acknowledged {
			ps.acknowledged.Add(int64(len(ids)))
		}
	}
}

// killed makes the producers wait before their next request, restarted lets them go on.
func (ps *producers) killed() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.up = make(chan struct{})
}

func (ps *producers) restarted() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	close(ps.up)
}

func (ps *producers) stop() {
	ps.end()
	ps.running.Wait()
}

func (ps *producers) outcomes(path string) *outcomes { return ps.paths[path] }
