package s3

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/sinks/object"
)

// tokens is a network with an STS that lends keys, and a store that takes everything.
type tokens struct {
	asked url.Values
	keys  []string // Authorization of the requests to the store
	deny  bool
}

func (n *tokens) Do(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if strings.HasPrefix(r.URL.Host, "sts.") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if n.asked, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
		if n.deny {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>`)
		} else {
			_, _ = io.WriteString(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIALENT</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
				`<SessionToken>lent</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
		}
	} else {
		n.keys = append(n.keys, r.Header.Get("Authorization")+" "+r.Header.Get("X-Amz-Security-Token"))
	}
	out := w.Result()
	out.Request = r
	return out, nil
}

func TestARoleIsAssumed(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_PROFILE", "")
	c := Config{Bucket: "logs", Region: "eu-west-1", Endpoint: "http://store.test", Layout: object.Defaults()}
	c.Auth.AccessKeyID, c.Auth.SecretAccessKey = keyID, config.NewSecret(secret)
	c.Auth.AssumeRole = AssumeRole{RoleARN: "arn:aws:iam::1:role/logs", ExternalID: "e-1"}
	network := &tokens{}
	s, err := open(c, deps(network))
	if err != nil {
		t.Fatal(err)
	}
	if err := small().ship(s.(*store)); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"RoleArn": "arn:aws:iam::1:role/logs", "ExternalId": "e-1", "RoleSessionName": "hydrant"} {
		if got := network.asked.Get(k); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	if len(network.keys) == 0 || !strings.Contains(network.keys[0], "ASIALENT") || !strings.HasSuffix(network.keys[0], " lent") {
		t.Errorf("the store was asked with %q", network.keys)
	}
	network.deny = true
	if s, err = open(c, deps(network)); err != nil {
		t.Fatal(err)
	}
	operator(t, small().ship(s.(*store)), "role arn:aws:iam::1:role/logs", keyID)
}

func TestACAFileIsTrusted(t *testing.T) {
	store := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer store.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: store.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{Bucket: "logs", Endpoint: store.URL, CAFile: config.Path(file), Layout: object.Defaults()}
	c.Auth.AccessKeyID, c.Auth.SecretAccessKey = keyID, config.NewSecret(secret)
	if err := small().ship(mustOpen(t, c)); err != nil {
		t.Error(err)
	}
}
