"""The GraphQL schema. Everything has a description, because people read the schema in their GraphQL clients.

Root fields may be null, but fields inside them that may fail are not nullable. So an error makes only its root field
null, and `data` stays an object, which the pytest plugin of `log10-io` relies on (docs/api.md, "The calls of
log10-io"). The types contain no cycles, so the nesting of queries is limited: for example, the completions of feedback
have only their id.
"""

SDL = '''
"Queries, which only read."
type Query {
  "The organization of the token."
  organization(
    "Its id or its slug; may be left out. Naming another organization than the token's is refused with status 403."
    id: String
  ): Organization
}

"Mutations, which write."
type Mutation {
  "Create a test run. Upload its report to `reportUploadUrl` with PUT."
  createTestRun("The new test run." input: CreateTestRunInput!): CreatedTestRun
}

"Any JSON value. It is answered exactly as it was stored: key order, nulls and every digit included."
scalar JSON

"An organization, the owner of all data."
type Organization {
  "The organization's id."
  id: String!
  "The organization's name in URLs."
  slug: String!
  "Accepted feedback, newest first."
  feedbackV2(
    """
    Only feedback whose values satisfy this: comparisons (`=` `!=` `<` `<=` `>` `>=`) of a field with a number, a string
    in quotes, `true` or `false`, joined by `and`, `or`, `not` and parentheses. Example: `Coverage <= 5 and not flags.spam = true`.
    """
    filter: String
    "Only feedback for this task."
    taskId: String
    "The number of the page; the first page is 1."
    page: Int = 1
    "How many pieces of feedback a page has; more than 10000 means 10000."
    limit: Int = 50
  ): FeedbackPage!
  "The completion with this id; null when there is none."
  completion("The completion's id." id: String!): Completion
}

"A page of feedback."
type FeedbackPage {
  "Which page this is, and how many there are."
  pageInfo: PageInfo!
  "The feedback, newest first."
  nodes: [Feedback!]!
}

"Which page of a list this is, and how many items the list has."
type PageInfo {
  "How many items match, on all pages together."
  totalCount: Int!
  "The number of this page; the first page is 1."
  currentPage: Int!
  "Whether there is a page after this one."
  hasNextPage: Boolean!
}

"A person's or a program's judgement of completions."
type Feedback {
  "The feedback's id."
  id: String!
  "The values, exactly as they were sent. They satisfy the task's schema."
  jsonValues: JSON!
  "A comment in words; empty when there is none."
  comment: String!
  "When the feedback was stored, in ISO 8601."
  createdAt: String!
  "The feedback task that the feedback answers."
  task: FeedbackTask!
  "The completions that the feedback is about."
  completions: [FeedbackCompletion!]!
}

"A feedback task: what feedback is wanted."
type FeedbackTask {
  "The task's id."
  id: String!
  "What the task is called."
  name: String!
  "What a reviewer should do."
  instruction: String!
}

"A completion that feedback is about."
type FeedbackCompletion {
  "The completion's id."
  id: String!
}

"One LLM request and its response."
type Completion {
  "The completion's id."
  id: String!
  "When the completion's first row arrived, in ISO 8601."
  createdAt: String!
  "Whether the LLM call has `started`, `finished` or `failed`."
  status: String!
  "The tags, in the order in which they were sent."
  tags: [String!]!
  "The newest proposed feedback that is neither accepted nor rejected; null when there is none."
  autoFeedback: AutoFeedback
}

"Proposed feedback. It grades nothing until it is accepted."
type AutoFeedback {
  "The feedback's id."
  id: String!
  "The feedback's state: `proposed`."
  status: String!
  "The proposed values, exactly as they were sent."
  jsonValues: JSON!
  "A comment in words; empty when there is none."
  comment: String!
  "The feedback task that the feedback answers."
  task: FeedbackTask!
}

"A new test run."
input CreateTestRunInput {
  "What the test run is called."
  name: String!
  "The organization of the token, by id or slug; may be left out."
  organizationId: String
}

"A test run that was just created."
type CreatedTestRun {
  "The run's id; `NAME-ID` is a tag of all its completions."
  id: String!
  "What the test run is called."
  name: String!
  "The URL to upload the report to, once. It needs no token, so keep it secret. It is shown only in this answer."
  reportUploadUrl: String!
  "When the test run was created, in ISO 8601."
  createdAt: String!
  "The organization that the test run belongs to."
  organization: TestRunOrganization!
}

"The organization that a test run belongs to."
type TestRunOrganization {
  "The organization's id."
  id: String!
  "The organization's name in URLs."
  slug: String!
}
'''
