import java.io.File;
import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.CaptionsApi;
import org.openapitools.client.model.CaptionBatch;
import org.openapitools.client.model.CaptionResult;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.ScoreResult;

/** The library that openapi-generator takes for Java when none is named. */
class OkHttpClientTest extends ClientTest {
  @Override
  CaptionsApi captions(String key) {
    ApiClient client = new ApiClient().setBasePath(url);
    client.setBearerToken(key);
    return new CaptionsApi(client);
  }

  @Override
  CaptionResult caption(File image) throws ApiException {
    return captions.createCaption(image).candidates(2).avoidWords(List.of("photo", "picture")).execute();
  }

  @Override
  CaptionBatch captionAll(List<File> images) throws ApiException {
    return captions.createCaptionBatch(images).genderNeutral(true).minConfidence(0.0).execute();
  }

  @Override
  ScoreResult score(File image, List<String> texts) throws ApiException {
    return captions.createScore(image, texts).execute();
  }

  @Override
  Problem problemOf(ApiException error) throws Exception {
    return Problem.fromJson(error.getResponseBody());
  }
}
