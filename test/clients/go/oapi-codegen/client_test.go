// Package client_test checks the Go client that oapi-codegen makes from openapi.yaml, against a running service.
package client_test

import (
	"bytes"
	"context"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"os"
	"reflect"
	"testing"
	"unicode"

	"example.org/client/pcm"
)

var (
	ctx     = context.Background()
	texts   = []string{"A photo of food", "A dog, running"}
	noPhoto = []byte("no photo")
)

func client(t *testing.T, key string) *pcm.ClientWithResponses {
	withKey := pcm.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+key)
		return nil
	})
	made, err := pcm.NewClientWithResponses(os.Getenv("SERVICE_URL"), withKey)
	check(t, err)
	return made
}

func photo(t *testing.T) []byte {
	bytes, err := os.ReadFile(os.Getenv("PHOTO"))
	check(t, err)
	return bytes
}

// form is the way of oapi-codegen: it takes any body, with its type.
func form(t *testing.T, files [][]byte, fields ...[2]string) (string, io.Reader) {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	for _, file := range files {
		part, err := writer.CreateFormFile("image", "photo.jpg")
		check(t, err)
		_, err = part.Write(file)
		check(t, err)
	}
	for _, field := range fields {
		check(t, writer.WriteField(field[0], field[1]))
	}
	check(t, writer.Close())
	return writer.FormDataContentType(), &body
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func checkCaption(t *testing.T, result *pcm.CaptionResult) {
	t.Helper()
	if result == nil || result.Caption == nil || !unicode.IsUpper(rune((*result.Caption)[0])) || result.Confidence <= 0 {
		t.Fatalf("%+v", result)
	}
}

func TestAPhotoIsCaptionedFromAForm(t *testing.T) {
	contentType, body := form(t, [][]byte{photo(t)}, [2]string{"candidates", "2"}, [2]string{"avoidWords", "photo"})
	response, err := client(t, os.Getenv("API_KEY")).CreateCaptionWithBodyWithResponse(ctx, contentType, body)
	check(t, err)
	checkCaption(t, response.JSON200)
	if len(response.JSON200.Captions) > 2 {
		t.Fatal(len(response.JSON200.Captions))
	}
}

func TestAPhotoIsCaptionedFromJSON(t *testing.T) {
	image, candidates, explain := photo(t), int32(5), true
	request := pcm.CaptionRequest{Image: &image, Candidates: &candidates, Explain: &explain}
	response, err := client(t, os.Getenv("API_KEY")).CreateCaptionFromJsonWithResponse(ctx, request)
	check(t, err)
	checkCaption(t, response.JSON200)
	if grid := response.JSON200.GridSize; len(*response.JSON200.Concepts[0].Patches) != int(grid.Rows*grid.Columns) {
		t.Fatal(len(*response.JSON200.Concepts[0].Patches))
	}
}

func TestABatchHasAnEntryForEachImageAndATypedProblemForOneThatIsNone(t *testing.T) {
	service, good := client(t, os.Getenv("API_KEY")), photo(t)
	contentType, body := form(t, [][]byte{good, noPhoto})
	fromForm, err := service.CreateCaptionBatchWithBodyWithResponse(ctx, contentType, body)
	check(t, err)
	request := pcm.CaptionBatchRequest{Images: []pcm.ImageSource{{Image: &good}, {Image: &noPhoto}}}
	fromJSON, err := service.CreateCaptionBatchFromJsonWithResponse(ctx, request)
	check(t, err)
	for _, batch := range []*pcm.CaptionBatch{fromForm.JSON200, fromJSON.JSON200} {
		var captions, codes int
		for _, entry := range batch.Results {
			value, err := entry.ValueByDiscriminator()
			check(t, err)
			switch entry := value.(type) {
			case pcm.CaptionedImage:
				captions++
				checkCaption(t, &entry.Result)
			case pcm.FailedImage:
				if entry.Error.Code == "unsupported_image_format" && entry.Error.Status == 415 {
					codes++
				}
			}
		}
		if captions != 1 || codes != 1 || len(batch.Results) != 2 {
			t.Fatalf("%d, %d of %d", captions, codes, len(batch.Results))
		}
	}
}

func TestTextsAreScored(t *testing.T) {
	service, image := client(t, os.Getenv("API_KEY")), photo(t)
	contentType, body := form(t, [][]byte{image}, [2]string{"texts", texts[0]}, [2]string{"texts", texts[1]})
	fromForm, err := service.CreateScoreWithBodyWithResponse(ctx, contentType, body)
	check(t, err)
	fromJSON, err := service.CreateScoreFromJsonWithResponse(ctx, pcm.ScoreRequest{Image: &image, Texts: texts})
	check(t, err)
	for _, result := range []*pcm.ScoreResult{fromForm.JSON200, fromJSON.JSON200} {
		var scored []string
		for _, score := range result.Scores {
			scored = append(scored, score.Text)
			if score.MatchProbability == nil {
				t.Fatalf("%+v", score)
			}
		}
		if !reflect.DeepEqual(scored, texts) {
			t.Fatal(scored)
		}
	}
}

func TestATextAndAnImageAreEmbedded(t *testing.T) {
	text, image := "a dog", photo(t)
	request := pcm.EmbeddingRequest{Input: []pcm.EmbeddingInput{{Text: &text}, {Image: &image}}}
	response, err := client(t, os.Getenv("API_KEY")).CreateEmbeddingsWithResponse(ctx, request)
	check(t, err)
	squares := 0.0
	for _, value := range response.JSON200.Data[1].Embedding {
		squares += value * value
	}
	if math.Abs(squares-1) > 1e-3 {
		t.Fatal(squares)
	}
}

func TestWhatIsRefusedComesAsATypedProblem(t *testing.T) {
	image, candidates := photo(t), int32(99)
	request := pcm.CaptionRequest{Image: &image, Candidates: &candidates}
	refused, err := client(t, os.Getenv("API_KEY")).CreateCaptionFromJsonWithResponse(ctx, request)
	check(t, err)
	if problem := refused.ApplicationproblemJSON400; problem == nil || problem.Code != "invalid_option" {
		t.Fatalf("%+v", problem)
	}
	unknown, err := client(t, "not-a-key").CreateCaptionFromJsonWithResponse(ctx, request)
	check(t, err)
	if problem := unknown.ApplicationproblemJSON401; problem == nil || problem.Code != "unauthorized" {
		t.Fatalf("%+v", problem)
	}
}
