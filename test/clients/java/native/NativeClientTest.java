import java.io.File;
import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.CaptionsApi;
import org.openapitools.client.api.CaptionsApi.APICreateCaptionBatchRequest;
import org.openapitools.client.api.CaptionsApi.APICreateCaptionRequest;
import org.openapitools.client.api.CaptionsApi.APICreateScoreRequest;
import org.openapitools.client.model.CaptionBatch;
import org.openapitools.client.model.CaptionResult;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.ScoreResult;

/** The library of Java's own HTTP client. In forms it wants every list, if only an empty one. */
class NativeClientTest extends ClientTest {
  @Override
  CaptionsApi captions(String key) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(url);
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + key));
    return new CaptionsApi(client);
  }

  @Override
  CaptionResult caption(File image) throws ApiException {
    return captions.createCaption(
        APICreateCaptionRequest.newBuilder()
            .image(image)
            .candidates(2)
            .avoidWords(List.of("photo", "picture"))
            .concepts(List.of())
            .build());
  }

  @Override
  CaptionBatch captionAll(List<File> images) throws ApiException {
    return captions.createCaptionBatch(
        APICreateCaptionBatchRequest.newBuilder()
            .image(images)
            .genderNeutral(true)
            .minConfidence(0.0)
            .avoidWords(List.of())
            .concepts(List.of())
            .build());
  }

  @Override
  ScoreResult score(File image, List<String> texts) throws ApiException {
    return captions.createScore(APICreateScoreRequest.newBuilder().image(image).texts(texts).build());
  }

  @Override
  Problem problemOf(ApiException error) throws Exception {
    return ApiClient.createDefaultObjectMapper().readValue(error.getResponseBody(), Problem.class);
  }
}
