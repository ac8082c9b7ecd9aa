// Package openapi_test checks the Go client that openapi-generator makes from openapi.yaml, against a running service.
package openapi_test

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unicode"

	pcm "github.com/pcm-caption/client"
)

var texts = []string{"A photo of food", "A dog, running"}

func client(key string) (*pcm.CaptionsAPIService, context.Context) {
	configuration := pcm.NewConfiguration()
	configuration.Servers = pcm.ServerConfigurations{{URL: os.Getenv("SERVICE_URL")}}
	ctx := context.WithValue(context.Background(), pcm.ContextAccessToken, key)
	return pcm.NewAPIClient(configuration).CaptionsAPI, ctx
}

func open(t *testing.T, path string) *os.File {
	file, err := os.Open(path)
	check(t, err)
	return file
}

func encodedPhoto(t *testing.T) string {
	photo, err := os.ReadFile(os.Getenv("PHOTO"))
	check(t, err)
	return base64.StdEncoding.EncodeToString(photo)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func checkCaption(t *testing.T, result *pcm.CaptionResult) {
	t.Helper()
	caption := result.GetCaption()
	if caption == "" || !unicode.IsUpper(rune(caption[0])) || result.Confidence <= 0 || result.Confidence >= 1 {
		t.Fatalf("%q, %v", caption, result.Confidence)
	}
}

func TestAPhotoIsCaptionedFromAForm(t *testing.T) {
	captions, ctx := client(os.Getenv("API_KEY"))
	photo := open(t, os.Getenv("PHOTO"))
	request := captions.CreateCaption(ctx).Image(photo).Candidates(2).AvoidWords([]string{"photo", "picture"})
	result, _, err := request.Execute()
	check(t, err)
	checkCaption(t, result)
	if len(result.Captions) > 2 {
		t.Fatal(len(result.Captions))
	}
}

func TestAPhotoIsCaptionedFromJSON(t *testing.T) {
	captions, ctx := client(os.Getenv("API_KEY"))
	body := pcm.NewCaptionRequest()
	body.SetImage(encodedPhoto(t))
	body.SetCandidates(5)
	body.SetExplain(true)
	result, _, err := captions.CreateCaptionFromJson(ctx).CaptionRequest(*body).Execute()
	check(t, err)
	checkCaption(t, result)
	if grid := result.GetGridSize(); len(result.Concepts[0].Patches) != int(grid.Rows*grid.Columns) {
		t.Fatal(len(result.Concepts[0].Patches))
	}
}

func TestABatchHasAnEntryForEachImageAndATypedProblemForOneThatIsNone(t *testing.T) {
	captions, ctx := client(os.Getenv("API_KEY"))
	bad := filepath.Join(t.TempDir(), "bad.jpg")
	check(t, os.WriteFile(bad, []byte("no photo"), 0o600))
	files := []*os.File{open(t, os.Getenv("PHOTO")), open(t, bad)}
	fromForm, _, err := captions.CreateCaptionBatch(ctx).Image(files).GenderNeutral(true).Execute()
	check(t, err)
	images := []pcm.ImageSource{*pcm.NewImageSource(), *pcm.NewImageSource()}
	images[0].SetImage(encodedPhoto(t))
	images[1].SetImage(base64.StdEncoding.EncodeToString([]byte("no photo")))
	body := *pcm.NewCaptionBatchRequest(images)
	fromJSON, _, err := captions.CreateCaptionBatchFromJson(ctx).CaptionBatchRequest(body).Execute()
	check(t, err)
	for _, batch := range []*pcm.CaptionBatch{fromForm, fromJSON} {
		captioned, failed := batch.Results[0].CaptionedImage, batch.Results[1].FailedImage
		if captioned == nil || failed == nil || len(batch.Results) != 2 {
			t.Fatalf("%+v", batch)
		}
		checkCaption(t, &captioned.Result)
		if failed.Error.Code != "unsupported_image_format" || failed.Error.Status != 415 {
			t.Fatalf("%+v", failed.Error)
		}
	}
}

func TestTextsAreScored(t *testing.T) {
	captions, ctx := client(os.Getenv("API_KEY"))
	fromForm, _, err := captions.CreateScore(ctx).Image(open(t, os.Getenv("PHOTO"))).Texts(texts).Execute()
	check(t, err)
	body := pcm.NewScoreRequest(texts)
	body.SetImage(encodedPhoto(t))
	fromJSON, _, err := captions.CreateScoreFromJson(ctx).ScoreRequest(*body).Execute()
	check(t, err)
	for _, result := range []*pcm.ScoreResult{fromForm, fromJSON} {
		var scored []string
		for _, score := range result.Scores {
			scored = append(scored, score.Text)
			if score.GetMatchProbability() <= 0 {
				t.Fatalf("%+v", score)
			}
		}
		if !reflect.DeepEqual(scored, texts) {
			t.Fatal(scored)
		}
	}
}

func TestATextAndAnImageAreEmbedded(t *testing.T) {
	captions, ctx := client(os.Getenv("API_KEY"))
	inputs := []pcm.EmbeddingInput{*pcm.NewEmbeddingInput(), *pcm.NewEmbeddingInput()}
	inputs[0].SetText("a dog")
	inputs[1].SetImage(encodedPhoto(t))
	result, _, err := captions.CreateEmbeddings(ctx).EmbeddingRequest(*pcm.NewEmbeddingRequest(inputs)).Execute()
	check(t, err)
	squares := 0.0
	for _, value := range result.Data[1].Embedding {
		squares += value * value
	}
	if math.Abs(squares-1) > 1e-3 {
		t.Fatal(squares)
	}
}

func TestWhatIsRefusedComesAsATypedProblem(t *testing.T) {
	body := pcm.NewCaptionRequest()
	body.SetImage(encodedPhoto(t))
	body.SetCandidates(99)
	for key, code := range map[string]string{os.Getenv("API_KEY"): "invalid_option", "not-a-key": "unauthorized"} {
		captions, ctx := client(key)
		_, _, err := captions.CreateCaptionFromJson(ctx).CaptionRequest(*body).Execute()
		var refused *pcm.GenericOpenAPIError
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		if problem, ok := refused.Model().(pcm.Problem); !ok || problem.Code != code {
			t.Fatalf("%+v", refused.Model())
		}
	}
}
