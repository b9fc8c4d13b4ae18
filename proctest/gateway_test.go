package proctest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hydrantd/hydrant/faultproxy"
)

// gateway is a real S3 server: versitygw on a folder.
type gateway struct {
	addr   string
	client *s3.Client
}

const gatewayID, gatewaySecret = "AKIDTEST", "secretsecret"

// startGateway starts versitygw, which scripts/setup.sh has built, and makes the buckets.
func startGateway(t testing.TB, buckets ...string) *gateway {
	t.Helper()
	bin, err := filepath.Abs("../.cache/bin/versitygw")
	if err == nil {
		_, err = os.Stat(bin)
	}
	if err != nil {
		t.Fatalf("versitygw is missing: run scripts/setup.sh (%v)", err)
	}
	dir := t.TempDir()
	g := &gateway{addr: freeAddr(t)}
	cmd := exec.Command(bin, "--port", g.addr, "--access", gatewayID, "--secret", gatewaySecret, "--quiet", "--keep-alive", "posix", dir)
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // killed: its error says so
	})
	eventually(t, patience, "versitygw listens", func() bool {
		c, err := net.Dial("tcp", g.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	g.client = s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + g.addr), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(gatewayID, gatewaySecret, ""),
	})
	for _, b := range buckets {
		if _, err := g.client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &b}); err != nil {
			t.Fatalf("CreateBucket: %v\n%s", err, said)
		}
	}
	return g
}

// listing reads a whole bucket, as anybody would who knows nothing of hydrant: a plain listing and a GET of each key.
func (g *gateway) listing(t testing.TB, bucket string) map[string][]byte {
	t.Helper()
	ctx := context.Background()
	found := map[string][]byte{}
	pages := s3.NewListObjectsV2Paginator(g.client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			got, err := g.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: o.Key})
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(got.Body)
			got.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			found[*o.Key] = body
		}
	}
	return found
}

// proxy is a fault proxy in front of a store, and knows how many PUTs are in flight.
type proxy struct {
	*faultproxy.Proxy
	url      string
	inFlight atomic.Int64
}

// everyFault is what the proxy does to a request, sooner or later.
var everyFault = []faultproxy.Fault{
	faultproxy.InternalError, faultproxy.SlowDown, faultproxy.ResetBefore, faultproxy.Hang,
	faultproxy.Swallow, faultproxy.ResetAfter, faultproxy.Delay,
}

// startProxy breaks a third of the PUTs.
func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	inner, err := faultproxy.New(target, faultproxy.Only(http.MethodPut, faultproxy.Random(1, 0.33, everyFault...)))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Proxy: inner}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			p.inFlight.Add(1)
			defer p.inFlight.Add(-1)
		}
		inner.ServeHTTP(w, r)
	}))
	p.url = server.URL
	t.Cleanup(func() {
		inner.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return p
}

// settle lets everything that is still held back arrive, late as it is, and says what was done. Every fault must have
// been.
func (p *proxy) settle(t testing.TB) string {
	t.Helper()
	p.Land()
	counts := p.Counts()
	said := fmt.Sprintf("the proxy let %d requests through", counts[faultproxy.None])
	for _, f := range everyFault {
		if counts[f] == 0 {
			t.Errorf("the proxy never did %q", f)
		}
		said += fmt.Sprintf(", %s %d", f, counts[f])
	}
	return said
}
