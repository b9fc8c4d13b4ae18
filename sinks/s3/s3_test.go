package s3

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/faultproxy"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/sinktest"
)

func TestContract(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"gzip":      func(*Config) {},
		"zstd":      func(c *Config) { c.Compression = "zstd" },
		"none":      func(c *Config) { c.Compression = "none" },
		"checksums": func(c *Config) { c.Checksums = whenSupported },
	} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, func(t *testing.T) sinktest.Target {
				b := newBucket(t)
				c := b.config()
				change(&c)
				return sinktest.Target{
					Open: func() (sinks.Sink, error) { return open(c, deps(nil)) },
					Read: func() ([]string, error) {
						var records []string
						for _, text := range b.content() {
							records = append(records, strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })...)
						}
						return records, nil
					},
					Swallow: func() { b.proxy.SetPlan(faultproxy.Only(http.MethodPut, faultproxy.Script(faultproxy.ResetAfter))) },
				}
			})
		})
	}
}

// operator checks that err is the operator's, certain to have changed nothing, with a remedy that has the words.
func operator(t *testing.T, err error, words ...string) {
	t.Helper()
	var o *sinks.OperatorError
	if !errors.As(err, &o) {
		t.Fatalf("%v is not the operator's", err)
	}
	if !sinks.IsUnsent(err) {
		t.Errorf("%v is not marked as unsent", err)
	}
	for _, w := range words {
		if !strings.Contains(o.Remedy, w) {
			t.Errorf("remedy %q, want %q in it", o.Remedy, w)
		}
	}
	for _, text := range []string{o.Remedy, err.Error()} {
		if strings.Contains(text, secret) {
			t.Errorf("%q tells the secret", text)
		}
	}
}

// transient checks that err is neither nil nor the operator's.
func transient(t *testing.T, err error, unsent bool) {
	t.Helper()
	var o *sinks.OperatorError
	if err == nil || errors.As(err, &o) {
		t.Fatalf("%v is not transient", err)
	}
	if sinks.IsUnsent(err) != unsent {
		t.Errorf("%v: unsent is %t, want %t", err, !unsent, unsent)
	}
}

func TestMistakesThatOnlyTheOperatorCanMend(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config, *parcel)
		words  []string
	}{
		"a wrong key id":  {func(c *Config, _ *parcel) { c.Auth.AccessKeyID = "AKIDWRONG" }, []string{"AKIDWRONG"}},
		"a wrong secret":  {func(c *Config, _ *parcel) { c.Auth.SecretAccessKey = config.NewSecret("another") }, []string{keyID, "secret"}},
		"no such bucket":  {func(c *Config, p *parcel) { p.target = "not-there" }, []string{"not-there", "create"}},
		"no such profile": {func(c *Config, p *parcel) { c.Auth = Auth{Profile: "not-there"} }, []string{"not-there"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBucket(t)
			conf, p := b.config(), &parcel{name: "x", target: b.name, bytes: []byte("x")}
			c.change(&conf, p)
			s := mustOpen(t, conf)
			operator(t, p.ship(s), c.words...)
			p.bytes = make([]byte, multipartFrom)
			operator(t, p.ship(s), c.words...)
			if got := b.content(); len(got) != 0 {
				t.Errorf("the bucket holds %d objects", len(got))
			}
		})
	}
}

func TestAnOperatorsErrorEndsByItself(t *testing.T) {
	b := newBucket(t)
	p := &parcel{name: "x", target: b.name + "-later", bytes: []byte("x")}
	s := mustOpen(t, b.config())
	operator(t, p.ship(s))
	if _, err := b.direct.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &p.target}); err != nil {
		t.Fatal(err)
	}
	if err := p.ship(s); err != nil {
		t.Error(err)
	}
}

func TestTheFirstObjectProbesConditionsWithItself(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	for i, puts := range []int{2, 1, 1} {
		p := &parcel{name: "x" + string(rune('0'+i)), target: b.name, bytes: []byte("x")}
		before := b.proxy.Counts()[faultproxy.None]
		if err := p.ship(s); err != nil {
			t.Fatal(err)
		}
		if got := b.proxy.Counts()[faultproxy.None] - before; got != puts {
			t.Errorf("object %d took %d requests, want %d", i, got, puts)
		}
	}
	if s.known() != heeded {
		t.Errorf("versitygw's conditions count as %d", s.known())
	}
}

func TestFaultsOnTheWay(t *testing.T) {
	for _, c := range []struct {
		fault  faultproxy.Fault
		unsent bool
	}{
		{faultproxy.InternalError, false},
		{faultproxy.SlowDown, false},
		{faultproxy.ResetBefore, false},
		{faultproxy.ResetAfter, false},
		{faultproxy.Delay, false},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			b := newBucket(t)
			s := mustOpen(t, b.config())
			p := &parcel{name: "x", target: b.name, bytes: []byte("text")}
			b.proxy.SetPlan(faultproxy.Only(http.MethodPut, faultproxy.Script(c.fault)))
			transient(t, p.ship(s), c.unsent)
			if err := p.ship(s); err != nil {
				t.Errorf("second attempt: %v", err)
			}
			b.proxy.Land()
			if got := b.content(); len(got) != 1 || got["x"] != "text" {
				t.Errorf("the bucket holds %v", got)
			}
			if c.fault == faultproxy.Delay && b.proxy.Landed()[http.StatusPreconditionFailed] != 1 {
				t.Errorf("the late attempt met %v, want 412", b.proxy.Landed())
			}
		})
	}
}

func TestAStoreThatIsNotThereWasSentNothing(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	b.proxy.Close()
	p := &parcel{name: "x", target: b.name, bytes: []byte("x")}
	transient(t, p.ship(s), true)
}

func TestAttributesAreTaken(t *testing.T) {
	b := newBucket(t)
	c := b.config()
	c.StorageClass, c.ACL, c.Tags = "STANDARD", "", map[string]string{"team": "web + co", "env": "prod"}
	c.SSE.AES256 = true
	s := mustOpen(t, c)
	for _, size := range []int{10, multipartFrom} {
		p := &parcel{name: "x", target: b.name, bytes: bytes.Repeat([]byte("x"), size)}
		if size > 10 {
			p.name = "large"
		}
		if err := p.ship(s); err != nil {
			t.Fatal(err)
		}
		head := b.head(p.name)
		if head.Metadata[crcKey] != metadata(p.output().CRC)[crcKey] || aws.ToString(head.ContentType) != "application/octet-stream" {
			t.Errorf("%s: metadata %v, type %s", p.name, head.Metadata, aws.ToString(head.ContentType))
		}
		tags, err := b.direct.GetObjectTagging(t.Context(), &awss3.GetObjectTaggingInput{Bucket: &b.name, Key: &p.name})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, tag := range tags.TagSet {
			got[*tag.Key] = *tag.Value
		}
		if len(got) != 2 || got["team"] != "web + co" || got["env"] != "prod" {
			t.Errorf("%s: tags %v", p.name, got)
		}
	}
}

// large is an object that goes in parts, of bytes that do not repeat.
func large(b *bucket, name string) *parcel {
	data := make([]byte, multipartFrom+12345)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(data)
	return &parcel{name: name, target: b.name, bytes: data}
}

// whole checks that the object is there to the byte, and that nothing is left of uploads.
func whole(t *testing.T, b *bucket, p *parcel) {
	t.Helper()
	got := b.content()
	if sha256.Sum256([]byte(got[p.name])) != sha256.Sum256(p.bytes) {
		t.Errorf("%s: %d bytes differ from the %d that were sent", p.name, len(got[p.name]), len(p.bytes))
	}
	if len(got) != 1 {
		t.Errorf("the bucket holds %d objects", len(got))
	}
	if ids := b.uploads(); len(ids) != 0 {
		t.Errorf("uploads are left: %v", ids)
	}
}

func isComplete(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func isPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}

func TestLargeObjectsGoInParts(t *testing.T) {
	for _, checksums := range []string{whenRequired, whenSupported} {
		t.Run(checksums, func(t *testing.T) {
			b := newBucket(t)
			c := b.config()
			c.Checksums = checksums
			p := large(b, "x")
			if err := p.ship(mustOpen(t, c)); err != nil {
				t.Fatal(err)
			}
			whole(t, b, p)
			p.restart()
			if err := p.ship(mustOpen(t, c)); err != nil {
				t.Errorf("sent again: %v", err)
			}
			whole(t, b, p)
		})
	}
}

func TestALostAnswerToCompleteIsLookedAfter(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	p := large(b, "x")
	b.proxy.SetPlan(faultproxy.Matching(isComplete, faultproxy.Script(faultproxy.ResetAfter)))
	transient(t, p.ship(s), false)
	before := b.proxy.Counts()[faultproxy.None]
	if err := p.ship(s); err != nil {
		t.Errorf("second attempt: %v", err)
	}
	if got := b.proxy.Counts()[faultproxy.None] - before; got > 2 {
		t.Errorf("the second attempt took %d requests, want Complete and perhaps Head", got)
	}
	whole(t, b, p)
}

func TestALostAnswerToCompleteIsLookedAfterByTheNextProcess(t *testing.T) {
	b := newBucket(t)
	p := large(b, "x")
	b.proxy.SetPlan(faultproxy.Matching(isComplete, faultproxy.Script(faultproxy.ResetAfter)))
	transient(t, p.ship(mustOpen(t, b.config())), false)
	p.restart()
	if err := p.ship(mustOpen(t, b.config())); err != nil {
		t.Error(err)
	}
	whole(t, b, p)
}

func TestAPartThatFailsIsSentAgainAloneByTheSameProcess(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	p := large(b, "x")
	b.proxy.SetPlan(faultproxy.Matching(isPart, faultproxy.Script(faultproxy.None, faultproxy.SlowDown)))
	transient(t, p.ship(s), true)
	parts := 0
	b.proxy.SetPlan(func(r *http.Request) faultproxy.Fault {
		if isPart(r) {
			parts++
		}
		return faultproxy.None
	})
	if err := p.ship(s); err != nil {
		t.Error(err)
	}
	if parts != 2 {
		t.Errorf("%d parts were sent by the second attempt, want the 2 that were missing", parts)
	}
	whole(t, b, p)
}

// A store that has forgotten the upload answers before it has read the part, and the connection can be gone before that is seen.
func TestAnUploadThatGetsNowhereIsBegunAnew(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	p := large(b, "x")
	b.proxy.SetPlan(faultproxy.Matching(isPart, faultproxy.Script(faultproxy.None, faultproxy.ResetBefore, faultproxy.ResetBefore)))
	for left := range 2 {
		transient(t, p.ship(s), true)
		if got := b.uploads(); len(got) != 1-left {
			t.Fatalf("%d uploads are under way after attempt %d, want %d", len(got), left+1, 1-left)
		}
	}
	if err := p.ship(s); err != nil {
		t.Error(err)
	}
	whole(t, b, p)
}

func TestOnlyTheUploadOfTheJournalIsAborted(t *testing.T) {
	b := newBucket(t)
	foreign, err := b.direct.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &b.name, Key: aws.String("x")})
	if err != nil {
		t.Fatal(err)
	}
	p := large(b, "x")
	b.proxy.SetPlan(faultproxy.Matching(isPart, faultproxy.Script(faultproxy.None, faultproxy.ResetBefore)))
	transient(t, p.ship(mustOpen(t, b.config())), true)
	if got := b.uploads(); len(got) != 2 {
		t.Fatalf("%d uploads are under way, want the foreign one and ours", len(got))
	}
	p.restart()
	if err := p.ship(mustOpen(t, b.config())); err != nil {
		t.Fatal(err)
	}
	if got := b.uploads(); len(got) != 1 || got[0] != *foreign.UploadId {
		t.Errorf("uploads %v are left, want the foreign one alone", got)
	}
	if got := b.content()["x"]; got != string(p.bytes) {
		t.Errorf("%d bytes are there, want %d", len(got), len(p.bytes))
	}
}

func TestAnUploadThatSomebodyAbortedIsBegunAnew(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	p := large(b, "x")
	b.proxy.SetPlan(faultproxy.Matching(isPart, faultproxy.Script(faultproxy.None, faultproxy.ResetBefore)))
	transient(t, p.ship(s), true)
	for _, id := range b.uploads() {
		if _, err := b.direct.AbortMultipartUpload(t.Context(), &awss3.AbortMultipartUploadInput{Bucket: &b.name, Key: &p.name, UploadId: &id}); err != nil {
			t.Fatal(err)
		}
	}
	transient(t, p.ship(s), true)
	if err := p.ship(s); err != nil {
		t.Error(err)
	}
	whole(t, b, p)
}

func TestAnUploadThatCannotBeRememberedIsNotBegun(t *testing.T) {
	b := newBucket(t)
	p := large(b, "x")
	p.saveError = errors.New("the journal is full")
	if err := p.ship(mustOpen(t, b.config())); !errors.Is(err, p.saveError) {
		t.Errorf("%v, want %v", err, p.saveError)
	}
	if ids := b.uploads(); len(ids) != 0 {
		t.Errorf("uploads are left: %v", ids)
	}
}

func TestConcurrentLargeAttemptsLeaveOneObject(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	p := large(b, "x")
	if err := p.ship(s); err != nil {
		t.Fatal(err)
	}
	again := large(b, "x") // a clone of the data directory has another journal
	if err := again.ship(mustOpen(t, b.config())); err != nil {
		t.Fatal(err)
	}
	whole(t, b, p)
}

func TestResolveBarsTheNameAgainstStragglers(t *testing.T) {
	for _, suffix := range []string{"", ".gz", ".zst"} {
		t.Run("name"+suffix, func(t *testing.T) {
			b := newBucket(t)
			s := mustOpen(t, b.config())
			warm := &parcel{name: "warm", target: b.name, bytes: []byte("w")}
			if err := warm.ship(s); err != nil {
				t.Fatal(err)
			}
			p := &parcel{name: "x" + suffix, target: b.name, bytes: []byte("text")}
			b.proxy.SetPlan(faultproxy.Only(http.MethodPut, faultproxy.Script(faultproxy.Delay, faultproxy.InternalError)))
			transient(t, p.ship(s), false)
			transient(t, p.ship(s), false)
			if err := p.resolve(s); err != nil || p.delivered {
				t.Fatalf("resolve: %v, delivered %t", err, p.delivered)
			}
			b.proxy.Land()
			if got := b.content()[p.name]; got != "" {
				t.Errorf("a straggler has come through: %q", got)
			}
			if err := p.resolve(s); err != nil || p.delivered {
				t.Errorf("resolve again: %v, delivered %t", err, p.delivered)
			}
			// The process dies before the outcome is durable, and the next one ships the batch after all.
			p.restart()
			next := mustOpen(t, b.config())
			transient(t, p.ship(next), true)
			if err := p.ship(next); err != nil {
				t.Fatal(err)
			}
			head := b.head(p.name)
			if *head.ContentLength != int64(len(p.bytes)) {
				t.Errorf("%d bytes are there, want %d", *head.ContentLength, len(p.bytes))
			}
		})
	}
}

func TestResolveOfALargeObjectEndsItsUpload(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	p := large(b, "x")
	b.proxy.SetPlan(faultproxy.Matching(isComplete, faultproxy.Script(faultproxy.Delay)))
	transient(t, p.ship(s), false)
	if err := p.resolve(s); err != nil || p.delivered {
		t.Fatalf("resolve: %v, delivered %t", err, p.delivered)
	}
	b.proxy.Land()
	if got := b.content()["x"]; got != "" {
		t.Errorf("a straggler has come through: %d bytes", len(got))
	}
	if ids := b.uploads(); len(ids) != 0 {
		t.Errorf("uploads are left: %v", ids)
	}
}

func TestBytesThatAreNotOursAreTheOperators(t *testing.T) {
	b := newBucket(t)
	s := mustOpen(t, b.config())
	if _, err := b.direct.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &b.name, Key: aws.String("x"), Body: strings.NewReader("foreign")}); err != nil {
		t.Fatal(err)
	}
	p := &parcel{name: "x", target: b.name, bytes: []byte("text")}
	operator(t, p.ship(s), "s3://"+b.name+"/x")
	if err := p.resolve(s); err == nil || p.delivered {
		t.Errorf("resolve: %v, delivered %t", err, p.delivered)
	}
	if got := b.content()["x"]; got != "foreign" {
		t.Errorf("the object is %q now", got)
	}
}

func TestOldBatchesGoToTheBucketOfTheirTime(t *testing.T) {
	old, now := newBucket(t), newBucket(t)
	p := &parcel{name: "x", target: old.name, bytes: []byte("text")}
	if err := p.ship(mustOpen(t, now.config())); err != nil {
		t.Fatal(err)
	}
	if len(old.content()) != 1 || len(now.content()) != 0 {
		t.Errorf("the old bucket holds %d objects, the new one %d", len(old.content()), len(now.content()))
	}
}
