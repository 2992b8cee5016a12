// Starts Swagger UI on the document that the page names. A file of its own, so that the page needs no inline script.
const place = document.getElementById("swagger-ui");
const url = new URL(place.dataset.document, location.href).href;
// The document names the issuer, which may be another name of this host, or a host in front of it. A page may ask only
// the one it came from, so requests go there first.
const here = { url: new URL(".", url).href.replace(/\/$/, ""), description: "Where this page came from" };

function servedFromHere(response) {
  if (response.url === url) {
    const description = JSON.parse(response.text);
    const others = description.servers.filter((server) => server.url !== here.url);
    description.servers = [here, ...others];
    const { clientCredentials } = description.components.securitySchemes.client.flows;
    clientCredentials.tokenUrl = `${here.url}/oauth/token`;
    response.text = JSON.stringify(description);
  }
  return response;
}

SwaggerUIBundle({
  domNode: place,
  url,
  responseInterceptor: servedFromHere,
  deepLinking: true,
  displayRequestDuration: true,
  // A badge of the validator at swagger.io would tell it of every visit.
  validatorUrl: null,
  // A token stays in the page: gone with it, and out of reach of whatever else runs under this origin.
  persistAuthorization: false,
});
