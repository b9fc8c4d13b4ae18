package s3

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// newTransport makes the connections to a store. The time-out of a whole request is set for each (see store.within).
// Certificates in pem are trusted besides the system's.
func newTransport(pem []byte, headers time.Duration) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ResponseHeaderTimeout: headers,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConnsPerHost:   64, // the highest concurrency of a delivery
		WriteBufferSize:       64 << 10,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if len(pem) == 0 {
		return t, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in it, want PEM")
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// certificates reads ca_file, or what the AWS SDK's variable for the same names; nil when there is neither.
func certificates(c *Config, fsys hydrant.FS) (name string, pem []byte, err error) {
	name = cmp.Or(string(c.CAFile), os.Getenv("AWS_CA_BUNDLE"))
	if name == "" {
		return "", nil, nil
	}
	pem, err = readFile(fsys, name)
	return name, pem, err
}

// maxCAFile bounds the file of certificates, in bytes.
const maxCAFile = 16 << 20

func readFile(fsys hydrant.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, maxCAFile))
}

// newClient makes the SDK's client. It does not retry, sleep or hash: the delivery retries, and the checksum is known.
func newClient(c *Config, region string, who aws.CredentialsProvider, doer sinks.Doer) *awss3.Client {
	return awss3.New(awss3.Options{
		Region:                       region,
		Credentials:                  who,
		HTTPClient:                   doer,
		Retryer:                      aws.NopRetryer{},
		UsePathStyle:                 c.pathStyle(),
		RequestChecksumCalculation:   aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:   aws.ResponseChecksumValidationWhenRequired,
		ContinueHeaderThresholdBytes: continueAbove(c),
	}, func(o *awss3.Options) {
		o.APIOptions = append(o.APIOptions, keepRegion)
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
}

// continueAbove is from which size on bodies wait for the store's consent (Expect: 100-continue): Amazon's default, and
// never with others, some of which do not answer that.
func continueAbove(c *Config) int64 {
	if c.Endpoint != "" {
		return -1
	}
	return 0
}

// unsigned keeps the SDK from reading a body only to sign it: its checksum is signed instead, or TLS guards it.
func unsigned(o *awss3.Options) {
	o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error { return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(s) })
}

// timeout is how long a request with a body of size bytes may take.
func (s *store) timeout(size int64) time.Duration {
	return s.patience + time.Duration(size>>20)*time.Second
}

// within bounds one request. In the simulation the network itself decides how long things take.
func (s *store) within(size int64) func(*awss3.Options) {
	return func(o *awss3.Options) {
		if s.transport != nil {
			o.HTTPClient = &http.Client{Transport: s.transport, Timeout: s.timeout(size), CheckRedirect: noRedirect}
		}
	}
}

// noRedirect shows redirections as they are: a signed request is good for one host only.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
