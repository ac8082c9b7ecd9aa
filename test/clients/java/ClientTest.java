import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.CaptionsApi;
import org.openapitools.client.model.CaptionBatch;
import org.openapitools.client.model.CaptionBatchRequest;
import org.openapitools.client.model.CaptionRequest;
import org.openapitools.client.model.CaptionResult;
import org.openapitools.client.model.EmbeddingInput;
import org.openapitools.client.model.EmbeddingRequest;
import org.openapitools.client.model.FailedImage;
import org.openapitools.client.model.ImageSource;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.ScoreRequest;
import org.openapitools.client.model.ScoreResult;
import org.openapitools.client.model.TextScore;

/** The Java clients that openapi-generator makes from openapi.yaml, against a running service. */
abstract class ClientTest {
  static final String url = System.getenv("SERVICE_URL");
  static final File photo = new File(System.getenv("PHOTO"));
  static final byte[] noPhoto = "no photo".getBytes(StandardCharsets.UTF_8);
  static final List<String> texts = List.of("A photo of food", "A dog, running");

  final CaptionsApi captions = captions(System.getenv("API_KEY"));

  abstract CaptionsApi captions(String key);

  /** By form, with two candidates, and without the words "photo" and "picture". */
  abstract CaptionResult caption(File image) throws ApiException;

  /** By form. */
  abstract CaptionBatch captionAll(List<File> images) throws ApiException;

  /** By form. */
  abstract ScoreResult score(File image, List<String> texts) throws ApiException;

  abstract Problem problemOf(ApiException error) throws Exception;

  @Test
  void aPhotoIsCaptionedFromAForm() throws Exception {
    CaptionResult result = caption(photo);
    assertTrue(Character.isUpperCase(result.getCaption().charAt(0)), result.getCaption());
    assertTrue(result.getConfidence() > 0 && result.getConfidence() < 1);
    assertTrue(result.getCaptions().size() <= 2);
  }

  @Test
  void aPhotoIsCaptionedFromJson() throws Exception {
    CaptionRequest request = new CaptionRequest().image(Files.readAllBytes(photo.toPath())).candidates(5).explain(true);
    CaptionResult result = captions.createCaptionFromJson(request);
    assertTrue(Character.isUpperCase(result.getCaption().charAt(0)), result.getCaption());
    assertTrue(result.getCaptions().size() > 2);
    int patches = result.getGridSize().getRows() * result.getGridSize().getColumns();
    assertEquals(patches, result.getConcepts().get(0).getPatches().size());
  }

  @Test
  void belowAConfidenceThereIsNoCaption() throws Exception {
    CaptionRequest request = new CaptionRequest().image(Files.readAllBytes(photo.toPath())).minConfidence(1.0);
    assertNull(captions.createCaptionFromJson(request).getCaption());
  }

  @Test
  void aBatchHasAnEntryForEachImageAndATypedProblemForOneThatIsNone() throws Exception {
    File bad = File.createTempFile("bad", ".jpg");
    Files.write(bad.toPath(), noPhoto);
    CaptionBatchRequest request =
        new CaptionBatchRequest()
            .addImagesItem(new ImageSource().image(Files.readAllBytes(photo.toPath())))
            .addImagesItem(new ImageSource().image(noPhoto));
    for (CaptionBatch batch :
        List.of(captionAll(List.of(photo, bad)), captions.createCaptionBatchFromJson(request))) {
      assertEquals(2, batch.getResults().size());
      assertNotNull(batch.getResults().get(0).getCaptionedImage().getResult().getCaption());
      FailedImage failed = batch.getResults().get(1).getFailedImage();
      assertEquals(1, failed.getIndex());
      assertEquals("unsupported_image_format", failed.getError().getCode());
      assertEquals(415, failed.getError().getStatus());
    }
  }

  @Test
  void textsAreScored() throws Exception {
    ScoreRequest request = new ScoreRequest().image(Files.readAllBytes(photo.toPath())).texts(texts);
    for (ScoreResult result : List.of(score(photo, texts), captions.createScoreFromJson(request))) {
      assertEquals(texts, result.getScores().stream().map(TextScore::getText).toList());
      for (TextScore score : result.getScores()) assertTrue(score.getMatchProbability() > 0);
    }
  }

  @Test
  void aTextAndAnImageAreEmbedded() throws Exception {
    EmbeddingRequest request =
        new EmbeddingRequest()
            .addInputItem(new EmbeddingInput().text("a dog"))
            .addInputItem(new EmbeddingInput().image(Files.readAllBytes(photo.toPath())));
    List<Double> vector = captions.createEmbeddings(request).getData().get(1).getEmbedding();
    assertEquals(1, vector.stream().mapToDouble(x -> x * x).sum(), 1e-3);
  }

  @Test
  void whatIsRefusedComesAsATypedProblem() throws Exception {
    CaptionRequest request = new CaptionRequest().image(Files.readAllBytes(photo.toPath())).candidates(99);
    ApiException refused = assertThrows(ApiException.class, () -> captions.createCaptionFromJson(request));
    assertEquals(400, refused.getCode());
    assertEquals("invalid_option", problemOf(refused).getCode());
    ApiException unknown = assertThrows(ApiException.class, () -> captions("not-a-key").createCaptionFromJson(request));
    assertEquals("unauthorized", problemOf(unknown).getCode());
  }
}
