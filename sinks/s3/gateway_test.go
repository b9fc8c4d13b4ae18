package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/faultproxy"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/object"
)

// A real S3 server, versitygw, serves all tests of the package. It is started by the first that needs it.
var gateway struct {
	once    sync.Once
	url     string
	err     error
	command *exec.Cmd
	folder  string
	buckets int
	mu      sync.Mutex
}

const keyID, secret = "AKIDTEST", "secretsecret"

type withGateway struct{ *testing.M }

func (m withGateway) Run() int {
	status := m.M.Run()
	if gateway.command != nil {
		_ = gateway.command.Process.Kill()
		_ = gateway.command.Wait()
		_ = os.RemoveAll(gateway.folder)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return status
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(withGateway{m}) }

func startGateway() {
	binary := os.Getenv("HYDRANT_VERSITYGW")
	if binary == "" {
		binary = filepath.Join("..", "..", ".cache", "bin", "versitygw")
	}
	if _, err := os.Stat(binary); err != nil {
		gateway.err = fmt.Errorf("%s: there is no versitygw, the S3 server of the tests; scripts/setup.sh builds it, HYDRANT_VERSITYGW names another", binary)
		return
	}
	if gateway.folder, gateway.err = os.MkdirTemp("", "hydrant-s3-"); gateway.err != nil {
		return
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		gateway.err = err
		return
	}
	address := free.Addr().String()
	_ = free.Close()
	gateway.command = exec.Command(binary, "--quiet", "-p", address, "--access", keyID, "--secret", secret, "posix", gateway.folder)
	if gateway.err = gateway.command.Start(); gateway.err != nil {
		gateway.command = nil
		return
	}
	gateway.url = "http://" + address
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		gateway.err = err
		<-tick.C
	}
}

// bucket makes a new bucket on the real server, behind a proxy of its own.
type bucket struct {
	t      *testing.T
	name   string
	proxy  *faultproxy.Proxy
	direct *awss3.Client // past the proxy
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	gateway.once.Do(startGateway)
	if gateway.err != nil && gateway.url == "" {
		t.Fatal(gateway.err)
	}
	gateway.mu.Lock()
	gateway.buckets++
	name := fmt.Sprintf("bucket-%d", gateway.buckets)
	gateway.mu.Unlock()
	b := &bucket{t: t, name: name, direct: awss3.New(awss3.Options{
		Region: "us-east-1", BaseEndpoint: &gateway.url, UsePathStyle: true, HTTPClient: http.DefaultClient,
		Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
	})}
	if _, err := b.direct.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
	var err error
	if b.proxy, err = faultproxy.New(gateway.url, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.proxy.Close)
	return b
}

// config is a plain configuration for the bucket.
func (b *bucket) config() Config {
	c := Config{Bucket: b.name, Endpoint: b.proxy.URL, Layout: object.Defaults()}
	c.Auth.AccessKeyID, c.Auth.SecretAccessKey = keyID, config.NewSecret(secret)
	return c
}

// mustOpen opens a sink that the test closes.
func mustOpen(t *testing.T, c Config) *store {
	t.Helper()
	s, err := open(c, deps(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.(*store)
}

func deps(doer sinks.Doer) sinks.Deps {
	return sinks.Deps{
		Pipeline: "app", Destination: "archive", FS: hydrant.OS{}, Clock: hydrant.NewSystemClock(), Rand: rand.Reader,
		HTTP: doer, Log: slog.New(slog.DiscardHandler),
	}
}

// content lists the bucket plainly and unpacks what it holds: key → text.
func (b *bucket) content() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	pages := awss3.NewListObjectsV2Paginator(b.direct, &awss3.ListObjectsV2Input{Bucket: &b.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(b.t.Context())
		if err != nil {
			b.t.Fatalf("list: %v", err)
		}
		for _, o := range page.Contents {
			got, err := b.direct.GetObject(b.t.Context(), &awss3.GetObjectInput{Bucket: &b.name, Key: o.Key})
			if err != nil {
				b.t.Fatalf("get %s: %v", *o.Key, err)
			}
			out[*o.Key] = unpack(b.t, *o.Key, got.Body)
			_ = got.Body.Close()
		}
	}
	return out
}

func unpack(t *testing.T, key string, from io.Reader) string {
	t.Helper()
	switch {
	case strings.HasSuffix(key, ".gz"):
		z, err := gzip.NewReader(from)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		from = z
	case strings.HasSuffix(key, ".zst"):
		z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		defer z.Close()
		from = z
	}
	text, err := io.ReadAll(from)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return string(text)
}

// head asks the server itself.
func (b *bucket) head(key string) *awss3.HeadObjectOutput {
	b.t.Helper()
	out, err := b.direct.HeadObject(b.t.Context(), &awss3.HeadObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		b.t.Fatalf("head %s: %v", key, err)
	}
	return out
}

// uploads are the ids of the multipart uploads that are under way.
func (b *bucket) uploads() []string {
	b.t.Helper()
	out, err := b.direct.ListMultipartUploads(b.t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &b.name})
	if err != nil {
		b.t.Fatalf("list uploads: %v", err)
	}
	var ids []string
	for _, u := range out.Uploads {
		ids = append(ids, aws.ToString(u.UploadId))
	}
	return ids
}

// parcel is a Ready batch of one object.
type parcel struct {
	name      string
	target    string
	bytes     []byte
	saved     []byte
	attempt   int
	resent    bool
	delivered bool
	saves     int
	saveError error
}

func (p *parcel) output() sinks.Output {
	return sinks.Output{File: "object", Target: p.target, Name: p.name, Size: int64(len(p.bytes)), CRC: crc32.Checksum(p.bytes, castagnoli)}
}

func (p *parcel) shipment() *sinks.Shipment {
	s := sinks.NewShipment(sinks.Batch{Pipeline: "app", Destination: "archive", From: 1}, func(pos hydrant.Position, _ uint32, _ *sinks.Refusal, delivered bool) {
		p.delivered = p.delivered || delivered && pos == 0
	})
	s.To, s.Outputs, s.Attempt, s.Resent, s.Saved = 2, []sinks.Output{p.output()}, p.attempt, p.resent || p.attempt > 1, p.saved
	s.Open = func(sinks.Output) (sinks.Content, error) { return content{bytes.NewReader(p.bytes)}, nil }
	s.Save = func(note []byte) error {
		if p.saveError != nil {
			return p.saveError
		}
		p.saves++
		p.saved = bytes.Clone(note)
		return nil
	}
	return s
}

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

func (p *parcel) ship(s *store) error {
	p.attempt++
	return s.Ship(context.Background(), p.shipment())
}

func (p *parcel) resolve(s *store) error {
	p.delivered = false
	return s.Resolve(context.Background(), p.shipment())
}

// restart is a new process with the same journal.
func (p *parcel) restart() { p.attempt, p.resent = 0, true }
