package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/faultproxy"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/object"
)

// script is a network that answers what the test says, for what the real server cannot be brought to do. It stands where
// the simulation stands, so it also checks that nothing happens on other goroutines.
type script struct {
	t       *testing.T
	answer  func(op string, r *http.Request) reply
	ops     []string
	headers map[string]http.Header // of the last request of each operation
}

type reply struct {
	status int
	code   string            // of an error
	body   string            // in place of code
	header map[string]string // besides
	err    error             // no answer at all
}

var ok = reply{status: 200}

func refusal(status int, code string) reply { return reply{status: status, code: code} }

// operation names a request as the API does.
func operation(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodHead:
		return "Head"
	case r.Method == http.MethodDelete:
		return "Abort"
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "Create"
	case r.Method == http.MethodPost:
		return "Complete"
	case q.Has("partNumber"):
		return "Part"
	}
	return "Put"
}

func (s *script) Do(r *http.Request) (*http.Response, error) {
	stack := make([]byte, 64<<10)
	if stack = stack[:runtime.Stack(stack, false)]; !bytes.Contains(stack, []byte("testing.tRunner")) {
		s.t.Errorf("a request on another goroutine (I15): %s", stack)
	}
	op := operation(r)
	s.ops = append(s.ops, op)
	s.headers[op] = r.Header
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	a := s.answer(op, r)
	if a.err != nil {
		return nil, a.err
	}
	w := httptest.NewRecorder()
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.body == "" && a.status == 200 {
		switch op {
		case "Create":
			a.body = "<InitiateMultipartUploadResult><UploadId>upload-1</UploadId></InitiateMultipartUploadResult>"
		case "Complete":
			a.body = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
		case "Part", "Put":
			w.Header().Set("ETag", `"e"`)
		}
	}
	w.WriteHeader(a.status)
	if a.code != "" && op != "Head" {
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", a.code)
	}
	_, _ = io.WriteString(w, a.body)
	out := w.Result()
	out.Request = r
	return out, nil
}

func scripted(t *testing.T, change func(*Config), answer func(op string, r *http.Request) reply) (*store, *script) {
	t.Helper()
	c := Config{Bucket: "logs", Region: "eu-west-1", Endpoint: "http://store.test", Layout: object.Defaults()}
	c.Auth.AccessKeyID, c.Auth.SecretAccessKey = keyID, config.NewSecret(secret)
	if change != nil {
		change(&c)
	}
	network := &script{t: t, answer: answer, headers: map[string]http.Header{}}
	s, err := open(c, deps(network))
	if err != nil {
		t.Fatal(err)
	}
	return s.(*store), network
}

func small() *parcel { return &parcel{name: "x", target: "logs", bytes: []byte("text")} }

func big() *parcel { return &parcel{name: "x", target: "logs", bytes: make([]byte, multipartFrom)} }

// headOf answers Head as if p were there.
func headOf(p *parcel) reply {
	return reply{status: 200, header: map[string]string{"Content-Length": fmt.Sprint(len(p.bytes)), "X-Amz-Meta-" + crcKey: metadata(p.output().CRC)[crcKey]}}
}

func expectOps(t *testing.T, s *script, want ...string) {
	t.Helper()
	if !slices.Equal(s.ops, want) {
		t.Errorf("requests %q, want %q", s.ops, want)
	}
	s.ops = nil
}

func TestClassesOfAnswers(t *testing.T) {
	for _, c := range []struct {
		reply  reply
		remedy string // "": transient
		unsent bool
	}{
		{refusal(403, "AccessDenied"), "s3:PutObject", true},
		{refusal(403, "InvalidAccessKeyId"), keyID, true},
		{refusal(403, "SignatureDoesNotMatch"), "secret of access key id " + keyID, true},
		{refusal(400, "ExpiredToken"), "has expired", true},
		{refusal(403, "RequestTimeTooSkewed"), "clock", true},
		{refusal(401, ""), keyID, true},
		{refusal(404, "NoSuchBucket"), "create bucket logs", true},
		{refusal(404, ""), "check endpoint", true},
		{reply{status: 301, code: "PermanentRedirect", header: map[string]string{"X-Amz-Bucket-Region": "us-west-2"}}, `it is "eu-west-1", and bucket logs is in "us-west-2"`, true},
		{reply{status: 400, code: "AuthorizationHeaderMalformed"}, "correct region", true},
		{refusal(400, "KMS.DisabledException"), "KMS key", true},
		{refusal(400, "InvalidStorageClass"), "storage_class", true},
		{refusal(400, "AccessControlListNotSupported"), "acl", true},
		{refusal(405, "MethodNotAllowed"), "bucket logs", true},
		{refusal(409, "ConditionalRequestConflict"), "", true},
		{refusal(400, "RequestTimeout"), "", true},
		{refusal(429, "TooManyRequests"), "", true},
		{refusal(307, "TemporaryRedirect"), "", true},
		{refusal(408, ""), "", false},
		{refusal(500, "InternalError"), "", false},
		{refusal(503, "SlowDown"), "", false},
		{refusal(502, ""), "", false},
		{reply{err: io.ErrUnexpectedEOF}, "", false},
		{reply{err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, "", true},
		{reply{err: &net.OpError{Op: "dial", Err: &net.DNSError{Name: "store.test", IsNotFound: true}}}, "name service", true},
		{reply{err: syscall.ECONNRESET}, "", false},
	} {
		t.Run(fmt.Sprintf("%d %s", c.reply.status, c.reply.code), func(t *testing.T) {
			for _, p := range []*parcel{small(), big()} {
				s, _ := scripted(t, nil, func(string, *http.Request) reply { return c.reply })
				err := p.ship(s)
				unsent := c.unsent || len(p.bytes) >= multipartFrom // an upload that was not completed is nothing
				if c.remedy != "" {
					operator(t, err, c.remedy)
				} else {
					transient(t, err, unsent)
				}
				if !strings.Contains(err.Error(), "s3://logs/x") {
					t.Errorf("%v does not say where", err)
				}
			}
		})
	}
}

func TestAttributesAreAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   map[string]string
	}{
		"kms":   {func(c *Config) { c.SSE.KMSKeyID = "alias/logs" }, map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "alias/logs"}},
		"aes":   {func(c *Config) { c.SSE.AES256 = true }, map[string]string{"X-Amz-Server-Side-Encryption": "AES256", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": ""}},
		"class": {func(c *Config) { c.StorageClass = "GLACIER_IR" }, map[string]string{"X-Amz-Storage-Class": "GLACIER_IR"}},
		"acl":   {func(c *Config) { c.ACL = "bucket-owner-full-control" }, map[string]string{"X-Amz-Acl": "bucket-owner-full-control"}},
		"tags":  {func(c *Config) { c.Tags = map[string]string{"b": "2 3", "a": "1"} }, map[string]string{"X-Amz-Tagging": "a=1&b=2%203"}},
		"token": {func(c *Config) { c.Auth.SessionToken = config.NewSecret("temporary") }, map[string]string{"X-Amz-Security-Token": "temporary"}},
		"none": {nil, map[string]string{
			"X-Amz-Server-Side-Encryption": "", "X-Amz-Storage-Class": "", "X-Amz-Acl": "", "X-Amz-Tagging": "", "Content-Encoding": "",
			"Content-Type": "application/octet-stream", "X-Amz-Checksum-Crc32c": "", "X-Amz-Sdk-Checksum-Algorithm": "", "X-Amz-Trailer": "",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, network := scripted(t, c.change, func(string, *http.Request) reply { return ok })
			for op, p := range map[string]*parcel{"Put": small(), "Create": big()} {
				if err := p.ship(s); err != nil {
					t.Fatal(err)
				}
				h := network.headers[op]
				for k, want := range c.want {
					if got := h.Get(k); got != want {
						t.Errorf("%s: %s: %q, want %q", op, k, got, want)
					}
				}
				if h.Get("X-Amz-Meta-"+crcKey) != metadata(p.output().CRC)[crcKey] {
					t.Errorf("%s: no checksum in the metadata", op)
				}
			}
		})
	}
}

func TestContentEncodingGoesOut(t *testing.T) {
	s, network := scripted(t, nil, func(string, *http.Request) reply { return ok })
	sh := small().shipment()
	sh.Outputs[0].Encoding = "gzip"
	if err := s.Ship(context.Background(), sh); err != nil {
		t.Fatal(err)
	}
	if got := network.headers["Put"].Get("Content-Encoding"); got != "gzip" {
		t.Errorf("Content-Encoding %q", got)
	}
}

func TestBodiesAreNotHashedAgain(t *testing.T) {
	s, network := scripted(t, func(c *Config) { c.Checksums = whenSupported }, func(string, *http.Request) reply { return ok })
	for op, p := range map[string]*parcel{"Put": small(), "Part": big()} {
		if err := p.ship(s); err != nil {
			t.Fatal(err)
		}
		h := network.headers[op]
		if got := h.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
			t.Errorf("%s: payload hash %q", op, got)
		}
		if got := h.Get("Content-Encoding"); got != "" {
			t.Errorf("%s: encoding %q", op, got)
		}
		if raw, err := base64.StdEncoding.DecodeString(h.Get("X-Amz-Checksum-Crc32c")); err != nil || len(raw) != 4 {
			t.Errorf("%s: checksum %q", op, h.Get("X-Amz-Checksum-Crc32c"))
		} else if got, want := fmt.Sprintf("%x", raw), metadata(p.output().CRC)[crcKey]; op == "Put" && got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}
	}
	if got := network.headers["Complete"].Get("X-Amz-Checksum-Crc32c"); got != *s.checksum(big().output().CRC) {
		t.Errorf("Complete: checksum %q", got)
	}
}

func TestStoresWithoutConditions(t *testing.T) {
	for name, c := range map[string]struct {
		conditional reply // to a put with If-None-Match
		first       []string
		want        support
	}{
		"the header is ignored":         {ok, []string{"Put", "Put"}, ignored},
		"the header is not implemented": {refusal(501, "NotImplemented"), []string{"Put", "Put"}, declined},
		"the header is a bad argument":  {refusal(400, "InvalidArgument"), []string{"Put", "Put"}, declined},
	} {
		t.Run(name, func(t *testing.T) {
			s, network := scripted(t, nil, func(_ string, r *http.Request) reply {
				if r.Header.Get("If-None-Match") != "" {
					return c.conditional
				}
				return ok
			})
			if err := small().ship(s); err != nil {
				t.Fatal(err)
			}
			expectOps(t, network, c.first...)
			if s.known() != c.want {
				t.Errorf("known: %d, want %d", s.known(), c.want)
			}
			if err := small().ship(s); err != nil {
				t.Fatal(err)
			}
			expectOps(t, network, "Put")
			if got := network.headers["Put"].Get("If-None-Match"); got != "" {
				t.Errorf("If-None-Match: %s", got)
			}
			if err := big().ship(s); err != nil {
				t.Fatal(err)
			}
			expectOps(t, network, "Create", "Part", "Part", "Complete")
		})
	}
}

func TestALargeObjectFirstFindsOutThatConditionsAreDeclined(t *testing.T) {
	s, network := scripted(t, nil, func(op string, r *http.Request) reply {
		if r.Header.Get("If-None-Match") != "" {
			return refusal(501, "NotImplemented")
		}
		return ok
	})
	if err := big().ship(s); err != nil {
		t.Fatal(err)
	}
	expectOps(t, network, "Create", "Part", "Part", "Complete", "Complete")
	if s.known() != declined {
		t.Errorf("known: %d", s.known())
	}
}

func TestAnotherMistakeIsNotTakenForDeclinedConditions(t *testing.T) {
	s, network := scripted(t, nil, func(string, *http.Request) reply { return refusal(400, "InvalidArgument") })
	transient(t, small().ship(s), true)
	expectOps(t, network, "Put", "Put")
	if s.known() != unknown {
		t.Errorf("known: %d", s.known())
	}
}

func TestWhatA412Means(t *testing.T) {
	p := small()
	for name, c := range map[string]struct {
		head   reply
		barred bool
		class  string // "", transient, operator
	}{
		"ours is there":               {headOf(p), false, ""},
		"the store keeps no metadata": {reply{status: 200, header: map[string]string{"Content-Length": "4"}}, false, ""},
		"we may not look":             {refusal(403, ""), false, ""},
		"nothing is there":            {refusal(404, ""), false, "transient"},
		"we may not look, and may have barred it ourselves": {refusal(403, ""), true, "operator"},
		"our bar was removed":                               {refusal(404, ""), true, "transient"},
		"other bytes":                                       {headOf(&parcel{bytes: []byte("TEXT")}), false, "operator"},
		"no answer":                                         {refusal(503, ""), false, "transient"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := scripted(t, nil, func(op string, _ *http.Request) reply {
				if op == "Head" {
					return c.head
				}
				return refusal(412, "PreconditionFailed")
			})
			p := small()
			if c.barred {
				p.saved = []byte(`{"barred":true}`)
			}
			err := p.ship(s)
			_, isOperators := errors.AsType[*sinks.OperatorError](err)
			if (err == nil) != (c.class == "") || isOperators != (c.class == "operator") {
				t.Errorf("%v, want %q", err, c.class)
			}
		})
	}
}

func TestNoSuchUploadOnComplete(t *testing.T) {
	for name, c := range map[string]struct {
		head reply
		ends bool
	}{
		"and the object is there":     {headOf(big()), true},
		"and the object is not there": {refusal(404, ""), false},
		"and we may not look":         {refusal(403, ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			first := true
			s, network := scripted(t, nil, func(op string, _ *http.Request) reply {
				switch {
				case op == "Head":
					return c.head
				case op == "Complete" && first:
					first = false
					return refusal(404, "NoSuchUpload")
				case op == "Abort":
					return refusal(404, "NoSuchUpload")
				}
				return ok
			})
			p := big()
			err := p.ship(s)
			if c.ends {
				if err != nil {
					t.Error(err)
				}
				expectOps(t, network, "Create", "Part", "Part", "Complete", "Head")
				return
			}
			transient(t, err, true)
			expectOps(t, network, "Create", "Part", "Part", "Complete", "Head")
			if err := p.ship(s); err != nil {
				t.Error(err)
			}
			expectOps(t, network, "Abort", "Head", "Create", "Part", "Part", "Complete")
		})
	}
}

// stillClock is a clock whose waits are over at once.
type stillClock struct {
	now   time.Duration
	waits []time.Duration
}

func (c *stillClock) Wall() time.Time     { return time.Unix(0, 0) }
func (c *stillClock) Mono() time.Duration { return c.now }
func (c *stillClock) Wait(_ context.Context, until time.Duration, _ ...<-chan struct{}) error {
	c.waits = append(c.waits, until-c.now)
	c.now = until
	return hydrant.ErrDeadline
}

func TestResolveWithoutConditionsWaitsForStragglers(t *testing.T) {
	for name, c := range map[string]struct {
		heads     []reply
		delivered bool
		waits     int
		fails     bool
	}{
		"it never comes":        {[]reply{refusal(404, ""), refusal(404, ""), refusal(404, "")}, false, 1, false},
		"it comes in the while": {[]reply{refusal(404, ""), refusal(404, ""), headOf(small())}, true, 1, false},
		"it is there":           {[]reply{headOf(small())}, true, 0, false},
		"nobody answers":        {[]reply{refusal(503, "")}, false, 0, true},
		"we may not look":       {[]reply{refusal(403, "")}, false, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			heads := c.heads
			s, _ := scripted(t, nil, func(op string, _ *http.Request) reply {
				if op != "Head" {
					t.Errorf("%s", op)
				}
				next := heads[0]
				heads = heads[1:]
				return next
			})
			clock := &stillClock{}
			s.clock = clock
			s.learn(ignored)
			p := small()
			if err := p.resolve(s); (err != nil) != c.fails || p.delivered != c.delivered {
				t.Errorf("%v, delivered %t", err, p.delivered)
			}
			if len(clock.waits) != c.waits || c.waits > 0 && clock.waits[0] != 2*s.timeout(4) {
				t.Errorf("waits %v", clock.waits)
			}
		})
	}
}

func TestResolveFindsOutWhatTheStoreDoesWithConditions(t *testing.T) {
	for name, c := range map[string]struct {
		head  int
		puts  []reply
		waits int
		want  support
	}{
		"it heeds them":                      {404, []reply{ok, refusal(412, "PreconditionFailed")}, 0, heeded},
		"it heeds them, and we may not list": {403, []reply{ok, refusal(412, "PreconditionFailed")}, 0, heeded},
		"it ignores them":                    {404, []reply{ok, ok}, 1, ignored},
		"it does not take them":              {404, []reply{refusal(501, "NotImplemented")}, 1, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			puts := c.puts
			s, _ := scripted(t, nil, func(op string, _ *http.Request) reply {
				if op == "Head" {
					return refusal(c.head, "")
				}
				next := puts[0]
				puts = puts[1:]
				return next
			})
			clock := &stillClock{}
			s.clock = clock
			p := small()
			if err := p.resolve(s); err != nil || p.delivered {
				t.Errorf("%v, delivered %t", err, p.delivered)
			}
			if len(clock.waits) != c.waits || s.known() != c.want || p.saves != 1 {
				t.Errorf("waits %v, known %d, %d notes", clock.waits, s.known(), p.saves)
			}
		})
	}
}

func TestADamagedNoteIsSaid(t *testing.T) {
	s, _ := scripted(t, nil, func(string, *http.Request) reply { return ok })
	p := small()
	p.saved = []byte("{")
	if err := p.ship(s); err == nil || !strings.Contains(err.Error(), "note") {
		t.Errorf("ship: %v", err)
	}
	if err := p.resolve(s); err == nil {
		t.Error("resolve: nil")
	}
}

func TestCredentialsThatWereMendedAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(id string) {
		if err := os.WriteFile(file, []byte("[prod]\naws_access_key_id = "+id+"\naws_secret_access_key = s\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", file+"-none")
	t.Setenv("AWS_CA_BUNDLE", "")
	write("AKIDOLD")
	s, _ := scripted(t, func(c *Config) { c.Auth = Auth{Profile: "prod"} }, func(_ string, r *http.Request) reply {
		if strings.Contains(r.Header.Get("Authorization"), "AKIDOLD") {
			return refusal(403, "InvalidAccessKeyId")
		}
		return ok
	})
	operator(t, small().ship(s), "profile prod")
	write("AKIDNEW")
	if err := small().ship(s); err != nil {
		t.Error(err)
	}
}

func TestARequestThatHangsIsCutOff(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	s.patience = 50 * time.Millisecond
	b.proxy.SetPlan(faultproxy.Only(http.MethodPut, faultproxy.Script(faultproxy.Hang)))
	p := &parcel{name: "x", target: b.name, bytes: []byte("text")}
	transient(t, p.ship(s), false)
	s.patience = time.Minute
	if err := p.ship(s); err != nil {
		t.Error(err)
	}
}

func TestAnUnknownAuthorityIsTheOperators(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	c := Config{Bucket: "logs", Endpoint: server.URL, Layout: object.Defaults()}
	c.Auth.AccessKeyID, c.Auth.SecretAccessKey = keyID, config.NewSecret(secret)
	operator(t, small().ship(mustOpen(t, c)), "ca_file")
	c.Endpoint = "https://" + strings.TrimPrefix(newBucket(t).proxy.URL, "http://")
	var o *sinks.OperatorError
	if err := small().ship(mustOpen(t, c)); !errors.As(err, &o) || !strings.Contains(o.Remedy, "http://") {
		t.Errorf("TLS to a store without it: %v", err)
	}
}

func TestACancelledAttemptEnds(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	ctx, cancel := context.WithCancel(t.Context())
	b.proxy.SetPlan(func(*http.Request) faultproxy.Fault { cancel(); return faultproxy.Hang })
	p := &parcel{name: "x", target: b.name, bytes: []byte("text"), attempt: 1}
	if err := s.Ship(ctx, p.shipment()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
