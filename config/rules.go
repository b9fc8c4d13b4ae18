package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of settings, as the reference says them.
const (
	minMemory      Size = 64 << 20
	minMaxBytes    Size = 16 << 20
	batchesInSpace      = 4 // a buffer holds at least so many of the largest batch
	minBatch       Size = 1 << 20
	maxBatch       Size = 5 << 30
	maxInterval         = 15 * time.Minute
	minGrace            = time.Second
	maxShards           = 500
	maxConcurrency      = 64
)

var name = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// checkName checks the name of a pipeline or destination against the rules and the others, which are kept by their
// lower case: names become files, and some disks take Logs and logs for one.
func (d *decoder) checkName(at Place, what, s string, others map[string]string) {
	if !name.MatchString(s) || s == "." || s == ".." {
		d.add(Problem{Place: at, Found: what + " name " + quote(s), Want: "write 1 to 64 of A–Z a–z 0–9 _ . -, not . or .."})
		return
	}
	low := strings.ToLower(s)
	switch other, taken := others[low]; {
	case taken && other == s:
		d.add(Problem{Place: at, Found: "a second " + what + " named " + s, Want: "give it a name of its own"})
	case taken:
		d.add(Problem{Place: at, Found: what + " names " + other + " and " + s + " that differ only in case", Want: "names that differ on every disk"})
	}
	others[low] = s
}

func checkFile(r *Report, cfg *Config) {
	if r.Given("memory") && cfg.Memory < minMemory {
		r.Problem("memory", cfg.Memory.String(), "at least "+minMemory.String())
	}
	oneOf(r, "log.level", cfg.Log.Level, "debug", "info", "warn", "error")
	oneOf(r, "log.format", cfg.Log.Format, "text", "json")
	if cfg.Shutdown.Grace < minGrace {
		r.Problem("shutdown.grace", FormatDuration(cfg.Shutdown.Grace), "at least "+FormatDuration(minGrace))
	}
	if !r.Given("admin.listen") {
		return
	}
	if !ValidListen(cfg.Admin.Listen) {
		r.Problem("admin.listen", "an address that is not HOST:PORT", "write it as 127.0.0.1:9640")
	} else if !Loopback(cfg.Admin.Listen) {
		r.Warning("admin.listen", "a status page that other machines can reach, and nobody is asked for a password", "127.0.0.1:PORT keeps it to this one")
	}
}

// oneOf reports a value that is none of those allowed, unless it came from the environment in its words.
func oneOf(r *Report, key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	want := "one of " + strings.Join(allowed, ", ")
	if near := nearest(value, allowed); near != "" {
		want = "did you mean " + near + "?"
	}
	at, _, _ := r.resolve(key)
	r.Problem(key, at.value.describe(), want)
}

func between[T int | Size | time.Duration](r *Report, key string, value, low, high T, show func(T) string) {
	if value < low || value > high {
		r.Problem(key, show(value), "from "+show(low)+" to "+show(high))
	}
}

func checkBuffer(r *Report, b Buffer) {
	between(r, "buffer.shards", b.Shards, 1, maxShards, strconv.Itoa)
	if b.MaxBytes < minMaxBytes {
		r.Problem("buffer.max_bytes", b.MaxBytes.String(), "at least "+minMaxBytes.String())
	}
}

func checkBatch(r *Report, b Batch) {
	between(r, "batch.size", b.Size, minBatch, maxBatch, Size.String)
	between(r, "batch.interval", b.Interval, 0, maxInterval, FormatDuration)
}

// checkDestination looks at what the destination itself sets; what it takes over is checked where it stands.
func checkDestination(r *Report, keys *destinationKeys) {
	if r.Given("batch.size") {
		between(r, "batch.size", keys.Batch.Size, minBatch, maxBatch, Size.String)
	}
	if r.Given("batch.interval") {
		between(r, "batch.interval", keys.Batch.Interval, 0, maxInterval, FormatDuration)
	}
	between(r, "concurrency", keys.Concurrency, 1, maxConcurrency, strconv.Itoa)
}

// checkMaxBytes holds the buffer against the largest batch, unless one of them is wrong by itself.
func checkMaxBytes(r *Report, p Pipeline) {
	var largest Size
	at := ""
	for _, dest := range p.Destinations {
		if dest.Batch.Size > largest {
			largest, at = dest.Batch.Size, dest.Name
		}
	}
	if p.Buffer.MaxBytes < minMaxBytes || largest > maxBatch || p.Buffer.MaxBytes >= batchesInSpace*largest {
		return
	}
	key := "buffer.max_bytes"
	if !r.Given(key) {
		key = "buffer"
	}
	r.Problem(key, fmt.Sprintf("max_bytes of %s with batches of %s (%s)", p.Buffer.MaxBytes, largest, at),
		fmt.Sprintf("at least %d times the largest batch, %s", batchesInSpace, batchesInSpace*largest))
}

// checkErrorOutput sees to it that what is given up has somewhere to go that does not fail with the sink.
func checkErrorOutput(r, pipeline *Report, keys *destinationKeys, sink, output Part, given bool) {
	if keys.Retry.GiveUpAfter == 0 {
		return
	}
	const key = "retry.give_up_after"
	say := r
	if !r.Given(key) {
		say = pipeline
	}
	switch {
	case !given:
		say.Problem(key, "a duration without an error_output", "write an error_output, or never")
	case output.Value != nil && sameTarget(sink, output):
		if r.Given("error_output") {
			say = r
		}
		say.Problem("error_output", "the failing sink itself, while give_up_after is "+FormatDuration(time.Duration(keys.Retry.GiveUpAfter)), "write another folder, bucket or kind, or give_up_after: never")
	}
}

// sameTarget tells whether two sinks fail together.
func sameTarget(a, b Part) bool {
	if a.Kind != b.Kind {
		return false
	}
	at, ok := a.Value.(Targeter)
	if !ok {
		return reflect.DeepEqual(a.Value, b.Value)
	}
	bt, ok := b.Value.(Targeter)
	return ok && at.Target() == bt.Target()
}

// claim is one address with a path that something listens on.
type claim struct {
	listen, path, certFile, keyFile string
	at                              entry
}

// checkListeners finds doors that want the same place, and a second reader of stdin.
func (d *decoder) checkListeners(r *Report, cfg *Config) {
	var claims []claim
	if cfg.Admin.Listen != "" && ValidListen(cfg.Admin.Listen) {
		at, _, _ := r.resolve("admin.listen")
		claims = append(claims, claim{listen: cfg.Admin.Listen, at: at})
	}
	stdin := false
	for _, p := range cfg.Pipelines {
		for _, s := range p.Sources {
			if s.Kind == "stdin" {
				if stdin {
					d.add(Problem{Place: s.At, Found: "stdin a second time", Want: "one pipeline reads it"})
				}
				stdin = true
			}
			l, ok := s.Value.(Listener)
			if !ok {
				continue
			}
			c := claim{at: entry{at: s.At}}
			c.listen, c.path, c.certFile, c.keyFile = l.Listener()
			for _, other := range claims {
				if found, want := clash(other, c); found != "" {
					d.add(Problem{Place: s.At, Found: s.Kind + ": " + found + fmt.Sprintf(" (line %d)", other.at.place().Line), Want: want})
					break
				}
			}
			claims = append(claims, c)
		}
	}
}

// clash says why two claims cannot both be served. The path of the admin page is empty: it shares with nobody.
func clash(a, b claim) (found, want string) {
	ahost, aport, aerr := net.SplitHostPort(a.listen)
	bhost, bport, berr := net.SplitHostPort(b.listen)
	switch {
	case aerr != nil || berr != nil || aport != bport || aport == "0":
		return "", ""
	case ahost != bhost && (wildcard(ahost) || wildcard(bhost)):
		return "the port " + aport + " on all addresses and on one of them", "write the same address, or another port"
	case ahost != bhost:
		return "", ""
	case a.path == "":
		return "the address of the admin page", "another port"
	case a.certFile != b.certFile || a.keyFile != b.keyFile:
		return "TLS settings that differ from those of the same address", "the same settings, or another port"
	case a.path == b.path:
		return "the same address and path again", "another path or port"
	}
	return "", ""
}

func wildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// ValidListen tells whether s is HOST:PORT, the host possibly empty, as net.Listen takes it. Nothing is looked up.
func ValidListen(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && perr == nil && strconv.FormatUint(n, 10) == port && !strings.ContainsAny(host, " /@")
}

// Loopback tells whether only this machine can reach the address HOST:PORT.
func Loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
